// Reads lines of {"schema", "before", "new", "old"}, writes every fault of a definition with that schema, which replaces one with the
// schema "before" if there is one, and of the new object.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdval "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

type In struct {
	Schema v1.JSONSchemaProps  `json:"schema"`
	Before *v1.JSONSchemaProps `json:"before"`
	New    map[string]any      `json:"new"`
	Old    map[string]any      `json:"old"`
}

func definition(openAPI *v1.JSONSchemaProps) *apiextensions.CustomResourceDefinition {
	crd := &v1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "foos.example.com", ResourceVersion: "1"}, Spec: v1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: "Namespaced", Names: v1.CustomResourceDefinitionNames{Plural: "foos", Singular: "foo", Kind: "Foo", ListKind: "FooList"},
		Versions: []v1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &v1.CustomResourceValidation{OpenAPIV3Schema: openAPI}}},
	}}
	v1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &internal, nil); err != nil {
		panic(err)
	}
	internal.Status.StoredVersions = []string{"v1"}
	return &internal
}

func fix(v any) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return i
		}
		f, _ := x.Float64()
		return f
	case map[string]any:
		for k := range x {
			x[k] = fix(x[k])
		}
		return x
	case []any:
		for i := range x {
			x[i] = fix(x[i])
		}
		return x
	}
	return v
}

func main() {
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<22), 1<<22)
	for sc.Scan() {
		var in In
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(&in); err != nil {
			panic(err)
		}
		out := map[string]any{}
		internal := definition(&in.Schema)
		var errs field.ErrorList
		if in.Before == nil {
			errs = crdval.ValidateCustomResourceDefinition(context.TODO(), internal)
		} else {
			errs = crdval.ValidateCustomResourceDefinitionUpdate(context.TODO(), internal, definition(in.Before))
		}
		msgs := []string{}
		for _, e := range errs {
			msgs = append(msgs, e.Error())
		}
		out["crd"] = msgs
		if in.New != nil {
			fix(in.New)
			if in.Old != nil {
				fix(in.Old)
			}
			ss, err := schema.NewStructural(internal.Spec.Validation.OpenAPIV3Schema)
			if err != nil {
				panic(err)
			}
			v := cel.NewValidator(ss, true, celconfig.PerCallLimit)
			var opts []cel.Option
			var old any
			if in.Old != nil {
				old = in.Old
				opts = append(opts, cel.WithRatcheting(common.NewCorrelatedObject(in.New, in.Old, &model.Structural{Structural: ss})))
			}
			msgs := []string{}
			if v != nil {
				ferrs, _ := v.Validate(context.TODO(), nil, ss, in.New, old, celconfig.RuntimeCELCostBudget, opts...)
				for _, e := range ferrs {
					msgs = append(msgs, e.Error())
				}
			}
			out["cr"] = msgs
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}

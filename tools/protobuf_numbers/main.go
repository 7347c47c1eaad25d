// Prints the protobuf field numbers of the Kubernetes API's types as JSON, read by reflection from the public Go types' struct tags.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"reflect"
	"strconv"
	"strings"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling1 "k8s.io/api/autoscaling/v1"
	autoscaling2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	resource "k8s.io/api/resource/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

type row []any

var types = map[string]map[string]row{}

func name(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return path.Join(parts[len(parts)-2:]...) + "." + t.Name()
}

var special = map[string]string{
	"meta/v1.Time": "time", "meta/v1.MicroTime": "microtime", "meta/v1.Duration": "duration", "api/resource.Quantity": "quantity",
	"util/intstr.IntOrString": "intstr", "pkg/runtime.RawExtension": "raw", "meta/v1.FieldsV1": "raw",
	"apiextensions/v1.JSON": "raw", "apiextensions/v1.JSONSchemaPropsOrBool": "schemaOrBool",
	"apiextensions/v1.JSONSchemaPropsOrArray": "schemaOrArray", "apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaOrStrings",
}

func kind(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		n := name(t)
		if s, ok := special[n]; ok {
			return s
		}
		walk(t)
		return n
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Float64:
		return "double"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		if t.Name() != "" {
			return "items:" + kind(t.Elem())
		}
	}
	return "?" + t.String()
}

func walk(t reflect.Type) {
	n := name(t)
	if _, done := types[n]; done {
		return
	}
	rows := map[string]row{}
	types[n] = rows
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := f.Tag.Get("protobuf")
		if tag == "" || tag == "-" {
			continue
		}
		number, err := strconv.Atoi(strings.Split(tag, ",")[1])
		if err != nil {
			panic(n + "." + f.Name + ": " + tag)
		}
		j := strings.Split(f.Tag.Get("json"), ",")
		ft := f.Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		label, k := "", ""
		switch {
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() != reflect.Uint8:
			if ft.Name() != "" && ft.Name() != "Verbs" {
				label, k = "repeated", kind(ft.Elem())
			} else {
				label, k = "repeated", kind(ft.Elem())
			}
		case ft.Kind() == reflect.Map:
			label, k = "map", kind(ft.Elem())
		default:
			k = kind(ft)
		}
		jsonName := j[0]
		if jsonName == "" {
			jsonName, label = "inline:"+f.Name, "inline"
		}
		if jsonName == "-" {
			continue
		}
		if label == "" {
			rows[jsonName] = row{number, k}
		} else {
			rows[jsonName] = row{number, k, label}
		}
	}
}

func main() {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionregistration.AddToScheme, apps.AddToScheme, authentication.AddToScheme, authorization.AddToScheme,
		autoscaling1.AddToScheme, autoscaling2.AddToScheme, batch.AddToScheme, certificates.AddToScheme,
		coordination.AddToScheme, core.AddToScheme, discovery.AddToScheme, events.AddToScheme, flowcontrol.AddToScheme,
		networking.AddToScheme, node.AddToScheme, policy.AddToScheme, rbac.AddToScheme, resource.AddToScheme,
		scheduling.AddToScheme, storage.AddToScheme, apiextensions.AddToScheme, apiregistration.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	kinds := map[string]string{}
	for gvk, t := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || t.Kind() != reflect.Struct {
			continue
		}
		if strings.HasPrefix(t.PkgPath(), "k8s.io/apimachinery/pkg/apis/meta") && gvk.Group != "" {
			continue
		}
		gv := schema.GroupVersion{Group: gvk.Group, Version: gvk.Version}.String()
		walk(t)
		kinds[gv+" "+gvk.Kind] = name(t)
	}
	out, err := json.Marshal(map[string]any{"kinds": kinds, "types": types})
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(out)
	fmt.Fprintln(os.Stderr, len(kinds), len(types))
}

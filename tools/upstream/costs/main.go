// Reads lines of {"schema", "rules", "root"}, writes what upstream estimates each rule to cost at least and at most, and how often
// data of that schema can be in one object where nothing bounds it. The most comes from upstream's own compilation; the least is
// not told by it, so the same estimate is made here once more, and both must agree on the most.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

type In struct {
	Schema v1.JSONSchemaProps `json:"schema"`
	Rules  []string           `json:"rules"`
	Root   bool               `json:"root"`
}

// sizes answers with how much the declared type allows.
type sizes struct{ of *apiservercel.DeclType }

func (s sizes) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	at, path := s.of, node.Path()
	if len(path) == 0 {
		return nil
	}
	for _, step := range path[1:] {
		switch step {
		case "@items", "@values":
			at = at.ElemType
		case "@keys":
			at = at.KeyType
		default:
			field, found := at.Fields[step]
			if !found {
				return nil
			}
			at = field.Type
		}
		if at == nil {
			return nil
		}
	}
	return &checker.SizeEstimate{Max: uint64(at.MaxElements)}
}

func (s sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func least(base *environment.EnvSet, decl *apiservercel.DeclType, rule string, most uint64) uint64 {
	scoped := decl.MaybeAssignTypeName("selfType")
	set, err := base.Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), DeclTypes: []*apiservercel.DeclType{scoped},
		EnvOptions: []celgo.EnvOption{celgo.Variable("self", scoped.CelType()), celgo.Variable("oldSelf", scoped.CelType())}})
	check(err)
	env := set.NewExpressionsEnv()
	ast, issues := env.Compile(rule)
	check(issues.Err())
	cost, err := env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: sizes{decl}})
	check(err)
	if cost.Max != most {
		panic(fmt.Sprintf("%s: %d, but upstream says %d", rule, cost.Max, most))
	}
	return cost.Min
}

func main() {
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<22), 1<<22)
	for sc.Scan() {
		var in In
		check(json.Unmarshal(sc.Bytes(), &in))
		for _, rule := range in.Rules {
			in.Schema.XValidations = append(in.Schema.XValidations, v1.ValidationRule{Rule: rule})
		}
		var internal apiextensions.JSONSchemaProps
		check(v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&in.Schema, &internal, nil))
		structural, err := schema.NewStructural(&internal)
		check(err)
		decl := model.SchemaDeclType(structural, in.Root)
		compiled, err := cel.Compile(structural, decl, celconfig.PerCallLimit, base, cel.NewExpressionsEnvLoader())
		check(err)
		out := []any{}
		for at, each := range compiled {
			if each.Error != nil {
				out = append(out, each.Error.Detail)
				continue
			}
			out = append(out, []uint64{least(base, decl, in.Rules[at], each.MaxCost), each.MaxCost, each.MaxCardinality})
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}

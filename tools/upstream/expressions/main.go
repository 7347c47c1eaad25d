// Reads lines of {"e": expression, "v": variables}, writes what Kubernetes' environment for expressions makes of each.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

type In struct {
	E string         `json:"e"`
	V map[string]any `json:"v"`
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
	set := environment.MustBaseEnvSet(version.MajorMinor(1, 36))
	set, err := set.Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: []cel.EnvOption{
		cel.Variable("object", cel.DynType), cel.Variable("x", cel.IntType), cel.Variable("s", cel.StringType), cel.Variable("l", cel.ListType(cel.IntType))}})
	if err != nil {
		panic(err)
	}
	env, err := set.Env(environment.NewExpressions)
	if err != nil {
		panic(err)
	}
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 1<<20)
	for sc.Scan() {
		var in In
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(&in); err != nil {
			panic(err)
		}
		out := map[string]any{"e": in.E}
		ast, iss := env.Compile(in.E)
		if iss != nil && iss.Err() != nil {
			out["compile"] = iss.String()
		} else {
			out["type"] = ast.OutputType().String()
			prg, err := env.Program(ast)
			if err != nil {
				out["program"] = err.Error()
			} else {
				for k := range in.V {
					in.V[k] = fix(in.V[k])
				}
				v, det, err := prg.Eval(in.V)
				if err != nil {
					out["error"] = err.Error()
				} else {
					out["value"] = fmt.Sprintf("%v", v.Value())
					out["kind"] = v.Type().TypeName()
				}
				if det != nil && det.ActualCost() != nil {
					out["cost"] = *det.ActualCost()
				}
			}
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}

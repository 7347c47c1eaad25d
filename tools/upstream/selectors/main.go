// Reads lines of {"e": expression}, writes what upstream estimates it to cost at most as a selector of devices, or why it is none. The
// features are those that are on in v1.36.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/dynamic-resource-allocation/cel"
)

type In struct {
	E string `json:"e"`
}

func main() {
	compiler := cel.GetCompiler(cel.Features{EnableConsumableCapacity: true})
	kind := environment.NewExpressions
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 1<<20)
	for sc.Scan() {
		var in In
		if err := json.Unmarshal(sc.Bytes(), &in); err != nil {
			panic(err)
		}
		said := compiler.CompileCELExpression(in.E, cel.Options{EnvType: &kind})
		var out any = said.MaxCost
		if said.Error != nil {
			out = said.Error.Detail
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}

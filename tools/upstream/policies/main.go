// Reads lines that are policies, bindings or webhook configurations, writes every fault of each.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	rv1 "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
)

func main() {
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<22), 1<<22)
	for sc.Scan() {
		var head struct {
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal(sc.Bytes(), &head); err != nil {
			panic(err)
		}
		var errs field.ErrorList
		switch head.Kind {
		case "ValidatingAdmissionPolicy":
			var o v1.ValidatingAdmissionPolicy
			var i admissionregistration.ValidatingAdmissionPolicy
			must(json.Unmarshal(sc.Bytes(), &o))
			rv1.SetObjectDefaults_ValidatingAdmissionPolicy(&o)
			must(rv1.Convert_v1_ValidatingAdmissionPolicy_To_admissionregistration_ValidatingAdmissionPolicy(&o, &i, nil))
			errs = validation.ValidateValidatingAdmissionPolicy(&i)
		case "MutatingAdmissionPolicy":
			var o v1.MutatingAdmissionPolicy
			var i admissionregistration.MutatingAdmissionPolicy
			must(json.Unmarshal(sc.Bytes(), &o))
			rv1.SetObjectDefaults_MutatingAdmissionPolicy(&o)
			must(rv1.Convert_v1_MutatingAdmissionPolicy_To_admissionregistration_MutatingAdmissionPolicy(&o, &i, nil))
			errs = validation.ValidateMutatingAdmissionPolicy(&i)
		case "ValidatingAdmissionPolicyBinding":
			var o v1.ValidatingAdmissionPolicyBinding
			var i admissionregistration.ValidatingAdmissionPolicyBinding
			must(json.Unmarshal(sc.Bytes(), &o))
			rv1.SetObjectDefaults_ValidatingAdmissionPolicyBinding(&o)
			must(rv1.Convert_v1_ValidatingAdmissionPolicyBinding_To_admissionregistration_ValidatingAdmissionPolicyBinding(&o, &i, nil))
			errs = validation.ValidateValidatingAdmissionPolicyBinding(&i)
		case "ValidatingWebhookConfiguration":
			var o v1.ValidatingWebhookConfiguration
			var i admissionregistration.ValidatingWebhookConfiguration
			must(json.Unmarshal(sc.Bytes(), &o))
			rv1.SetObjectDefaults_ValidatingWebhookConfiguration(&o)
			must(rv1.Convert_v1_ValidatingWebhookConfiguration_To_admissionregistration_ValidatingWebhookConfiguration(&o, &i, nil))
			errs = validation.ValidateValidatingWebhookConfiguration(&i)
		}
		msgs := []string{}
		for _, e := range errs {
			msgs = append(msgs, e.Error())
		}
		b, _ := json.Marshal(msgs)
		fmt.Println(string(b))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

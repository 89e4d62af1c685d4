package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/inject"
)

// outcome is what became of a question, for metrics and the log.
type outcome struct {
	result string // "injected", "unchanged", "refused" or "invalid"
	reason string // why it is unchanged, a word; otherwise ""
	pod    string
	err    error // why it is refused or invalid
}

// answer reads an AdmissionReview (admission.k8s.io/v1) about a Pod that is wanted in the mesh and gives the one to send back. The error says
// that it is none; then there is nothing to send. byDefault says that the Pod wants whoever injects by default.
func answer(body []byte, c inject.Config, byDefault bool) (*admissionv1.AdmissionReview, outcome, error) {
	var in admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, outcome{}, fmt.Errorf("no AdmissionReview: %w", err)
	}
	req := in.Request
	switch {
	case in.APIVersion != admissionv1.SchemeGroupVersion.String() || in.Kind != "AdmissionReview":
		return nil, outcome{}, fmt.Errorf("%s of %s, want AdmissionReview of %s", orNothing(in.Kind), orNothing(in.APIVersion), admissionv1.SchemeGroupVersion)
	case req == nil:
		return nil, outcome{}, errors.New("an AdmissionReview without a request")
	case req.UID == "":
		return nil, outcome{}, errors.New("an AdmissionReview whose request has no uid")
	}
	resp, o := decide(req, c, byDefault)
	resp.UID = req.UID
	return &admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: resp}, o, nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.100q", s)
}

func decide(req *admissionv1.AdmissionRequest, c inject.Config, byDefault bool) (*admissionv1.AdmissionResponse, outcome) {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if req.Operation != admissionv1.Create || req.Resource != pods || req.SubResource != "" {
		return &admissionv1.AdmissionResponse{Allowed: true}, outcome{result: "unchanged", reason: "no-pod"}
	}
	if byDefault && !c.AnswersDefault { // the configuration that still sends these questions is about to change
		return &admissionv1.AdmissionResponse{Allowed: true}, outcome{result: "unchanged", reason: string(inject.NotAsked)}
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(req.Object.Raw, pod); err != nil {
		err = fmt.Errorf("Pod %s/%s: it cannot be read: %w", req.Namespace, req.Name, err)
		return refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest, err), outcome{result: "invalid", err: err}
	}
	// That the API server asks says what the labels of the namespace and the Pod want, by newer labels than anybody here may know.
	ns := inject.Namespace{Name: req.Namespace, Labels: map[string]string{inject.RevisionLabel: inject.Revision}}
	r, err := inject.Pod(pod, ns, nil, c)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err), outcome{result: "refused", err: err}
	}
	resp := &admissionv1.AdmissionResponse{Allowed: true}
	for _, w := range r.Warnings {
		resp.Warnings = append(resp.Warnings, "weft: Pod "+req.Namespace+"/"+podName(pod)+": "+w)
	}
	o := outcome{result: "unchanged", reason: string(r.Reason), pod: podName(pod)}
	ops, err := inject.Patch(pod, r.Pod)
	if err != nil || len(ops) == 0 {
		return resp, o
	}
	if resp.Patch, err = json.Marshal(ops); err != nil {
		return refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, err), outcome{result: "refused", err: err}
	}
	resp.PatchType = ptr(admissionv1.PatchTypeJSONPatch)
	o.result = "injected"
	return resp, o
}

func podName(pod *corev1.Pod) string {
	if pod.Name == "" {
		return pod.GenerateName + "*"
	}
	return pod.Name
}

// refuse keeps the Pod out. The API server shows the message to whoever wanted it.
func refuse(code int32, reason metav1.StatusReason, err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: err.Error()}}
}

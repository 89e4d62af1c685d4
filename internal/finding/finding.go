// Package finding owns the vocabulary for what is wrong or doubtful with an object: which object, which field, how bad,
// a code that programs can rely on and a sentence for people.
//
// Findings are made wherever objects are understood and are carried to status, events, logs and the command line as they
// are. The package never decides what to do about one, and it imports nothing of the project.
package finding

import (
	"cmp"
	"strings"
)

// Object names the Kubernetes object (or the part of weft itself) that a finding is about.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"` // empty for a cluster-scoped object
	Name      string `json:"name"`
}

// String is "Service shop/web", or "Node n1" for a cluster-scoped object.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Compare orders objects by kind, namespace and name.
func (o Object) Compare(p Object) int {
	return cmp.Or(
		strings.Compare(o.Kind, p.Kind),
		strings.Compare(o.Namespace, p.Namespace),
		strings.Compare(o.Name, p.Name),
	)
}

// Finding is one thing that is wrong or doubtful with one object. It is a comparable value: two findings that say the same
// are equal, so it holds no time and no counter.
type Finding struct {
	Object   Object   `json:"object"`
	Field    string   `json:"field,omitempty"` // path inside the object, as in "spec.ports[0].nodePort"; empty for the whole
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`    // stable and short, in lower-case words: "node-port-taken"
	Message  string   `json:"message"` // one line for people, without the object and the field
}

// String is one line: "error Service shop/web spec.ports[0].nodePort: taken by Service shop/old (node-port-taken)".
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Severity.String())
	b.WriteByte(' ')
	b.WriteString(f.Object.String())
	if f.Field != "" {
		b.WriteByte(' ')
		b.WriteString(f.Field)
	}
	b.WriteString(": ")
	b.WriteString(oneLine.Replace(f.Message))
	if f.Code != "" {
		b.WriteString(" (" + f.Code + ")")
	}
	return b.String()
}

var oneLine = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")

// Compare is the order in which findings are shown: by object, within it the worst first, then by field, code and message.
func Compare(a, b Finding) int {
	return cmp.Or(
		a.Object.Compare(b.Object),
		cmp.Compare(b.Severity, a.Severity),
		strings.Compare(a.Field, b.Field),
		strings.Compare(a.Code, b.Code),
		strings.Compare(a.Message, b.Message),
	)
}

package ingress

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/store"
)

// annotationClass named the class before there was a field for it. Only an Ingress that says nothing in the field is looked at for it.
const annotationClass = "kubernetes.io/ingress.class"

// classFact is what an Ingress has to know of a class.
type classFact struct{ exists, ours bool }

func (l *Lowered) classOf(r *derive.Reader, name string) classFact {
	if c := l.o.Classes.Get(r, store.Key{Name: name}); c != nil {
		return classFact{exists: true, ours: c.Spec.Controller == l.opt.Controller}
	}
	undeclared := l.opt.Folder && len(l.isDflt.List(r, true))+len(l.isDflt.List(r, false)) == 0
	return classFact{ours: undeclared || slices.Contains(l.opt.ClassNames, name)}
}

// ours tells whether an Ingress is for us.
func (l *Lowered) ours(r *derive.Reader, in *networkingv1.Ingress, say report) bool {
	name, field := "", "spec.ingressClassName"
	if in.Spec.IngressClassName != nil {
		name = *in.Spec.IngressClassName
	}
	if name == "" {
		name, field = in.Annotations[annotationClass], "metadata.annotations["+annotationClass+"]"
	}
	if name != "" {
		c := l.class.Get(r, name)
		if !c.exists && !c.ours {
			say.at(in, finding.Info, field, "no-such-class", fmt.Sprintf("there is no IngressClass %s, and the name is not ours: it is left to somebody else", name))
		}
		return c.ours
	}
	defaults := l.isDflt.List(r, true)
	if len(defaults) == 0 {
		if !l.opt.Folder {
			say.at(in, finding.Info, "spec.ingressClassName", "no-class", "the Ingress names no class, and no IngressClass is the default: it is left to somebody else")
		}
		return l.opt.Folder
	}
	return slices.ContainsFunc(defaults, func(c *networkingv1.IngressClass) bool { return c.Spec.Controller == l.opt.Controller })
}

// report takes a finding about an Ingress.
type report func(finding.Finding)

func (f report) at(in *networkingv1.Ingress, severity finding.Severity, field, code, message string) {
	f(finding.Finding{Object: objectOf(in), Field: field, Severity: severity, Code: code, Message: message})
}

func objectOf(in *networkingv1.Ingress) finding.Object {
	return finding.Object{Kind: Kind, Namespace: in.Namespace, Name: in.Name}
}

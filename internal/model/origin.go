package model

import "github.com/weftmesh/weft/internal/finding"

// Origin says where an element was declared: the object, and the path of the field inside it in the API's own spelling
// ("spec.ports[1].nodePort"). The zero Origin means that nobody declared the element.
type Origin struct {
	finding.Object
	Field string `json:"field,omitempty"`
}

// At gives the origin of a field of the same object.
func (o Origin) At(field string) Origin { o.Field = field; return o }

// String reads "Service shop/web spec.ports[0]".
func (o Origin) String() string {
	if o.Field == "" {
		return o.Object.String()
	}
	return o.Object.String() + " " + o.Field
}

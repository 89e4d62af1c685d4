package message

// Metadata is something that a filter says of an exchange for those that come after it: Envoy's dynamic metadata. Value is as encoding/json decodes
// it, and nobody changes it.
type Metadata struct {
	Filter, Key string
	Value       any
}

// Absent is the value of what is not there, which is not the same as null.
type Absent struct{}

// SetMetadata says something for those that come after. What was said under the same key before is forgotten.
func (x *Info) SetMetadata(filter, key string, value any) {
	for i := range x.Metadata {
		if m := &x.Metadata[i]; m.Filter == filter && m.Key == key {
			m.Value = value
			return
		}
	}
	x.Metadata = append(x.Metadata, Metadata{filter, key, value})
}

// MetadataAt gives what a filter said at a path, of which the first element is the key; [Absent] is nothing.
func (x *Info) MetadataAt(filter string, path []string) any {
	for i := range x.Metadata {
		m := &x.Metadata[i]
		if m.Filter != filter || len(path) == 0 || m.Key != path[0] {
			continue
		}
		value := m.Value
		for _, key := range path[1:] {
			fields, _ := value.(map[string]any)
			inner, ok := fields[key]
			if !ok {
				return Absent{}
			}
			value = inner
		}
		return value
	}
	return Absent{}
}

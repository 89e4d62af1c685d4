package kube

import (
	"encoding/json"
	"strconv"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// inSeconds rewrites the durations of a spec from the form that Istio's documentation and users write ("10m", "1h30m") into the only one that
// protobuf's JSON has ("600s"). What is no duration stays, for the decoder to judge.
func inSeconds(spec json.RawMessage, of protoreflect.MessageDescriptor) (json.RawMessage, error) {
	var tree any
	if err := json.Unmarshal(spec, &tree); err != nil {
		return nil, err
	}
	return json.Marshal(secondsIn(tree, of))
}

func secondsIn(value any, of protoreflect.MessageDescriptor) any {
	if of.FullName() == "google.protobuf.Duration" {
		if s, ok := value.(string); ok {
			if d, err := time.ParseDuration(s); err == nil {
				return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
			}
		}
		return value
	}
	m, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for name, v := range m {
		field := of.Fields().ByJSONName(name)
		if field == nil {
			continue
		}
		message := field.Message()
		if field.IsMap() {
			message = field.MapValue().Message()
		}
		if message == nil {
			continue
		}
		switch v := v.(type) {
		case []any:
			for i := range v {
				v[i] = secondsIn(v[i], message)
			}
		case map[string]any:
			if !field.IsMap() {
				m[name] = secondsIn(v, message)
				continue
			}
			for key := range v {
				v[key] = secondsIn(v[key], message)
			}
		default:
			m[name] = secondsIn(v, message)
		}
	}
	return value
}

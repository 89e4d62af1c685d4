package accesslog

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// defaultText is the line of a logger that has no format, as Envoy writes it.
const defaultText = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% " +
	"%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" " +
	"\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"

// line makes a line of what is known.
type line interface {
	append(dst []byte, x *message.Info) []byte
}

// textFormat is one template.
type textFormat struct{ *format.Template }

func newText(s string, o format.Options) (line, error) {
	t, err := format.New(s, o)
	return textFormat{t}, err
}

func (f textFormat) append(dst []byte, x *message.Info) []byte { return f.Append(dst, x, "-") }

// jsonFormat is an object, a list or a value.
type jsonFormat struct {
	keys     []string // rendered with comma, quotes and colon; nil in a list
	values   []jsonFormat
	list     bool
	literal  string // of a value that is no text
	text     *format.Template
	compound bool
	omit     bool // leave out what has no value
}

func newJSON(s *structpb.Struct, omit bool, o format.Options) (line, error) {
	f, err := jsonObject(s, omit, o)
	if err != nil {
		return nil, field.In("json_format", err)
	}
	return &jsonLine{f}, nil
}

// jsonLine is an object on a line of its own.
type jsonLine struct{ jsonFormat }

func (f *jsonLine) append(dst []byte, x *message.Info) []byte {
	return append(f.jsonFormat.append(dst, x), '\n')
}

func jsonObject(s *structpb.Struct, omit bool, o format.Options) (f jsonFormat, err error) {
	f.compound, f.omit = true, omit
	names := make([]string, 0, len(s.GetFields()))
	for name := range s.GetFields() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v, err := jsonValue(s.Fields[name], omit, o)
		if err != nil {
			return f, field.In(name, err)
		}
		f.keys = append(f.keys, string(append(format.Plain(name).AppendJSON([]byte{','}, &message.Info{}), ':')))
		f.values = append(f.values, v)
	}
	return f, nil
}

func jsonValue(v *structpb.Value, omit bool, o format.Options) (f jsonFormat, err error) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return jsonObject(k.StructValue, omit, o)
	case *structpb.Value_ListValue:
		f.compound, f.list = true, true
		for i, e := range k.ListValue.GetValues() {
			v, err := jsonValue(e, omit, o)
			if err != nil {
				return f, field.At("list", i, err)
			}
			f.values = append(f.values, v)
		}
	case *structpb.Value_StringValue:
		f.text, err = format.New(k.StringValue, o)
	case *structpb.Value_BoolValue:
		f.literal = strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		f.literal = strconv.FormatFloat(k.NumberValue, 'g', -1, 64)
	default:
		f.literal = "null"
	}
	return f, err
}

func (f *jsonFormat) append(dst []byte, x *message.Info) []byte {
	switch {
	case f.compound:
		open, end := byte('{'), byte('}')
		if f.list {
			open, end = '[', ']'
		}
		dst = append(dst, open)
		first := true
		for i := range f.values {
			before := len(dst)
			switch {
			case f.list && !first:
				dst = append(dst, ',')
			case f.list:
			case first:
				dst = append(dst, f.keys[i][1:]...)
			default:
				dst = append(dst, f.keys[i]...)
			}
			value := len(dst)
			dst = f.values[i].append(dst, x)
			if f.omit && string(dst[value:]) == "null" {
				dst = dst[:before]
				continue
			}
			first = false
		}
		return append(dst, end)
	case f.text == nil:
		return append(dst, f.literal...)
	}
	return f.text.AppendJSON(dst, x)
}

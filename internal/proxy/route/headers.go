package route

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// headerOps is changes of header fields at one or more levels, in the order in which they are made.
type headerOps []headerLevel

// headerLevel is what one level (table, virtual host, route, destination) says: first what goes, then what comes.
type headerLevel struct {
	remove []string
	set    []headerSet
}

type headerSet struct {
	name      string
	value     *format.Template
	action    corev3.HeaderValueOption_HeaderAppendAction
	keepEmpty bool
}

// framing is fields that tell how a message is sent rather than what it says. The codecs write them, so operations on them are without effect.
var framing = []string{"connection", "content-length", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade", "te", "trailer"}

func (c *compiler) headerLevel(what string, add []*corev3.HeaderValueOption, remove []string) (headerLevel, error) {
	var l headerLevel
	for i, name := range remove {
		name = strings.ToLower(name)
		if err := modifiable(name); err != nil {
			return l, field.At(what+"_headers_to_remove", i, err)
		}
		if !slices.Contains(framing, name) {
			l.remove = append(l.remove, name)
		}
	}
	for i, a := range add {
		s, err := c.headerSet(a)
		if err != nil {
			return l, field.At(what+"_headers_to_add", i, err)
		}
		if !slices.Contains(framing, s.name) {
			l.set = append(l.set, s)
		}
	}
	return l, nil
}

func (c *compiler) headerSet(a *corev3.HeaderValueOption) (headerSet, error) {
	s := headerSet{name: strings.ToLower(a.GetHeader().GetKey()), action: a.GetAppendAction(), keepEmpty: a.GetKeepEmptyValue()}
	if err := modifiable(s.name); err != nil {
		return s, field.In("header.key", err)
	}
	if a.GetAppend() != nil { // the form before append_action
		if s.action != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			return s, field.Errorf("append", "both append and append_action are set")
		}
		if !a.GetAppend().GetValue() {
			s.action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		}
	}
	if s.action < 0 || s.action > corev3.HeaderValueOption_OVERWRITE_IF_EXISTS {
		return s, field.Errorf("append_action", "unknown action %d", s.action)
	}
	text := a.GetHeader().GetValue()
	if text == "" {
		text = string(a.GetHeader().GetRawValue())
	}
	if !httpguts.ValidHeaderFieldValue(text) {
		return s, field.Errorf("header.value", "%q is not allowed in a header field", text)
	}
	var err error
	s.value, err = format.New(text, c.options.Format)
	return s, field.In("header.value", err)
}

func modifiable(name string) error {
	switch {
	case strings.HasPrefix(name, ":"), name == "host":
		return field.Errorf(name, "pseudo-headers and host are not changed so, but by rewrites")
	case !httpguts.ValidHeaderFieldName(name):
		return field.Errorf(name, "not the name of a header field")
	}
	return nil
}

// apply makes the changes. Values are computed before the level's fields change, as if all changes were made at once.
func (ops headerOps) apply(f *message.Fields, x *message.Info) {
	for i := range ops {
		ops[i].apply(f, x)
	}
}

func (l *headerLevel) apply(f *message.Fields, x *message.Info) {
	for _, name := range l.remove {
		f.Del(name)
	}
	if len(l.set) == 0 {
		return
	}
	type change struct {
		value string
		do    bool
	}
	var room [16]change
	changes := room[:0]
	for i := range l.set {
		s := &l.set[i]
		v := s.evaluate(f, x)
		do := v != "" || s.keepEmpty
		switch s.action {
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			do = do && !has(f, s.name)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			do = do && has(f, s.name)
		}
		changes = append(changes, change{v, do})
	}
	for i, c := range changes {
		if c.do && l.set[i].overwrites() {
			f.Set(l.set[i].name, c.value)
		}
	}
	for i, c := range changes {
		if c.do && !l.set[i].overwrites() {
			f.Add(l.set[i].name, c.value)
		}
	}
}

func (s *headerSet) evaluate(f *message.Fields, x *message.Info) string {
	if text, ok := s.value.Literal(); ok {
		return text
	}
	v := s.value.Append(f.Scratch(), x, "")
	for i, c := range v { // what comes from a certificate may hold what would end a field
		if c < ' ' && c != '\t' || c == 0x7f {
			v[i] = '?'
		}
	}
	return f.Keep(v)
}

func (s *headerSet) overwrites() bool {
	return s.action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS || s.action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
}

func has(f *message.Fields, name string) bool {
	_, ok := f.Get(name)
	return ok
}

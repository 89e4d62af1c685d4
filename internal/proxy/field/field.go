// Package field speaks of the fields of an xDS message to whoever wrote it: which of them this proxy takes, and where in a resource something is
// wrong.
//
// It owns the form of such errors and the check for fields that nobody here knows. It knows no particular message.
package field

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Error is something wrong at a place in a resource.
type Error struct {
	Path string // as in virtual_hosts[3].routes[1].match.safe_regex
	Err  error
}

// Error is the path and what is wrong there.
func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// In puts the name of the enclosing field in front of an error's path; nil stays nil.
func In(name string, err error) error {
	if err == nil {
		return nil
	}
	var inner *Error
	if errors.As(err, &inner) && error(inner) == err {
		return &Error{name + "." + inner.Path, inner.Err}
	}
	return &Error{name, err}
}

// At is In for an element of a repeated field.
func At(name string, i int, err error) error {
	if err == nil {
		return nil
	}
	return In(name+"["+strconv.Itoa(i)+"]", err)
}

// Errorf makes an error of a field.
func Errorf(name, format string, args ...any) error {
	return &Error{name, fmt.Errorf(format, args...)}
}

// Only gives an error that names a field of the message which is set and not among those given: one that would change what the message means and
// that we do not know how to obey.
func Only(m proto.Message, names ...protoreflect.Name) error {
	var first protoreflect.FieldDescriptor // by number, so that the answer is the same each time
	m.ProtoReflect().Range(func(d protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(names, d.Name()) && (first == nil || d.Number() < first.Number()) {
			first = d
		}
		return true
	})
	if first == nil {
		return nil
	}
	return Errorf(string(first.Name()), "this proxy does not know it")
}

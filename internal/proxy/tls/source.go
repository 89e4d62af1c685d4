package tls

import (
	"errors"
	"fmt"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// read gives what a DataSource stands for; nil if there is none. A file is read once, when the resource is compiled.
func read(d *corev3.DataSource) ([]byte, error) {
	switch s := d.GetSpecifier().(type) {
	case nil:
		return nil, nil
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString), nil
	case *corev3.DataSource_Filename:
		b, err := os.ReadFile(s.Filename)
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("file %s is empty", s.Filename)
		}
		return b, err
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("the environment has no variable %s", s.EnvironmentVariable)
		}
		return []byte(v), nil
	}
	return nil, errors.New("a source that this proxy does not know")
}

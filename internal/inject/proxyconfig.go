package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// proxyConfig reads the annotation proxy.istio.io/config: Istio's ProxyConfig (mesh.istio.io/v1alpha1) of one Pod. Of its fields those are
// carried that say how the proxy starts and ends; another is left with a warning, because it says nothing about who may talk to whom.
func (r *reader) proxyConfig(s *settings) {
	const name = "proxy.istio.io/config"
	r.text(name, func(text string) error {
		var fields map[string]json.RawMessage
		if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
			return fmt.Errorf("no YAML: %s", strings.ReplaceAll(err.Error(), "\n", " "))
		}
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			raw := fields[field]
			var err error
			switch field {
			case "holdApplicationUntilProxyStarts":
				err = json.Unmarshal(raw, &s.hold)
			case "terminationDrainDuration", "drainDuration":
				var d string
				if err = json.Unmarshal(raw, &d); err == nil && field == "terminationDrainDuration" {
					if s.drain, err = time.ParseDuration(d); err == nil && s.drain <= 0 {
						err = fmt.Errorf("%s is not positive", d)
					}
				}
			case "binaryPath":
				if err = json.Unmarshal(raw, &s.envoy); err == nil && !path.IsAbs(s.envoy) {
					err = fmt.Errorf("%q is no path from the root", s.envoy)
				}
			case "proxyMetadata":
				err = s.metadata(raw)
			default:
				s.warnings = append(s.warnings, fmt.Sprintf("annotation %s: %s is not carried", name, field))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", field, err)
			}
		}
		return nil
	})
}

// metadata is the proxy's environment, as Istio uses it. What the proxy is told of itself cannot be changed by it.
func (s *settings) metadata(raw json.RawMessage) error {
	var values map[string]string
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if wrong := validation.IsEnvVarName(k); len(wrong) > 0 {
			return fmt.Errorf("%q: %s", k, strings.Join(wrong, ", "))
		}
		if reserved(k) {
			return fmt.Errorf("%s is set by weft", k)
		}
		s.env = append(s.env, corev1.EnvVar{Name: k, Value: values[k]})
	}
	return nil
}

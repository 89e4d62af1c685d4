package finding

import (
	"fmt"
	"slices"
)

// Severity says how bad a finding is. A greater value is worse.
type Severity uint8

const (
	// Info is worth knowing; nothing is wrong.
	Info Severity = iota
	// Warning means that the object works, though perhaps not as its author thinks.
	Warning
	// Error means that this part of the object has no effect.
	Error
)

var severities = []string{Info: "info", Warning: "warning", Error: "error"}

// String is "info", "warning" or "error".
func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// MarshalText makes JSON and YAML show the name.
func (s Severity) MarshalText() ([]byte, error) {
	if int(s) >= len(severities) {
		return nil, fmt.Errorf("severity %d is not known", uint8(s))
	}
	return []byte(severities[s]), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities, string(text))
	if i < 0 {
		return fmt.Errorf("severity %q is not one of info, warning, error", text)
	}
	*s = Severity(i)
	return nil
}

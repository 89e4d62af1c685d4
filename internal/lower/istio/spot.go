package istio

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// The codes of what is found. Programs may rely on them.
const (
	codeHost        = "invalid-host"
	codePort        = "invalid-port"
	codeName        = "invalid-name"
	codeAddress     = "invalid-address"
	codeDuration    = "invalid-duration"
	codeRegex       = "invalid-regex"
	codeMatch       = "invalid-match"
	codeHeader      = "invalid-header"
	codeWeight      = "invalid-weight"
	codeStatus      = "invalid-status"
	codePercentage  = "invalid-percentage"
	codeValue       = "invalid-value"
	codeSelector    = "invalid-selector"
	codeExport      = "invalid-export"
	codeGateway     = "invalid-gateway"
	codeProtocol    = "invalid-protocol"
	codeTLS         = "invalid-tls"
	codeKeys        = "invalid-keys"
	codeMissing     = "missing-field"      // without which the element has no effect
	codeNoGateway   = "missing-gateway"    // a Gateway that does not exist
	codeConflict    = "conflicting-fields" // of which only one can have an effect
	codeDoubled     = "doubled"            // said before
	codeNoEffect    = "no-effect"
	codeUnsupported = "unsupported" // Istio has it, weft does not
	codeSubset      = "doubled-subset"
	codeMerged      = "merged-rule"  // several DestinationRules for one host
	codeOlder       = "older-policy" // of which only the oldest has an effect

	codeNoDelegate       = "missing-delegate"
	codeDelegateConflict = "delegate-conflict"
	codeDelegateLoop     = "delegate-loop"
	codeDelegateNested   = "delegate-nested"
)

// spot is a field of an object, about which something can be said.
type spot struct {
	say   func(finding.Finding)
	where model.Origin
}

// silent is for reading without saying anything.
var silent = spot{say: func(finding.Finding) {}}

// specOf is the spot of an object's spec.
func specOf(o model.Origin, say func(finding.Finding)) spot { return spot{say, o.At("spec")} }

// in is the spot of a field inside.
func (s spot) in(field string) spot { return spot{s.say, s.where.At(s.where.Field + "." + field)} }

// key is the spot of a map's entry inside.
func (s spot) key(field, key string) spot {
	return spot{s.say, s.where.At(s.where.Field + "." + field + "[" + key + "]")}
}

// at is the spot of a list's element inside.
func (s spot) at(field string, i int) spot {
	return spot{s.say, s.where.At(s.where.Field + "." + field + "[" + strconv.Itoa(i) + "]")}
}

func (s spot) report(severity finding.Severity, code, format string, args []any) {
	s.say(finding.Finding{Object: s.where.Object, Field: s.where.Field, Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (s spot) errorf(code, format string, args ...any) { s.report(finding.Error, code, format, args) }

func (s spot) warnf(code, format string, args ...any) { s.report(finding.Warning, code, format, args) }

// unsupported says that a field has no effect here.
func (s spot) unsupported(set bool) {
	if set {
		s.warnf(codeUnsupported, "is not supported, and has no effect")
	}
}

// duration reads a duration, which Istio wants to be at least a millisecond and in whole milliseconds. One that is not counts as not said.
func (s spot) duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v := d.AsDuration()
	if d.CheckValid() != nil || v < time.Millisecond || v%time.Millisecond != 0 {
		s.errorf(codeDuration, "%v is not a time of whole milliseconds, at least one; it is left out", v)
		return 0
	}
	return v
}

// port reads a port's number, 0 if it is none.
func (s spot) port(number uint32) uint16 {
	if number < 1 || number > 65535 {
		s.errorf(codePort, "%d is no port number", number)
		return 0
	}
	return uint16(number)
}

// percentage reads a share, which must be from 0 to 100.
func (s spot) percentage(v float64) (share float64, ok bool) {
	if v >= 0 && v <= 100 {
		return v, true
	}
	s.errorf(codePercentage, "%v is not between 0 and 100", v)
	return 0, false
}

// count reads a number that must not be negative; one that is counts as not said.
func (s spot) count(v int32) uint32 {
	if v < 0 {
		s.errorf(codeValue, "%d is negative; it is left out", v)
		return 0
	}
	return uint32(v)
}

package match

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// Fraction is a part of all exchanges. The zero value is none of them.
type Fraction struct{ numerator, denominator uint64 }

// All is every exchange.
var All = Fraction{1, 1}

// NewFraction compiles a FractionalPercent.
func NewFraction(p *typev3.FractionalPercent) (Fraction, error) {
	f := Fraction{numerator: uint64(p.GetNumerator())}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		f.denominator = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.denominator = 1_000_000
	default:
		return f, fmt.Errorf("unknown denominator %d", p.GetDenominator())
	}
	return f, nil
}

// NewRuntimeFraction compiles a RuntimeFractionalPercent. Nothing here can change at run time, so the default is the value; nothing said is all.
func NewRuntimeFraction(p *corev3.RuntimeFractionalPercent) (Fraction, error) {
	if p == nil {
		return All, nil
	}
	return NewFraction(p.GetDefaultValue())
}

// Hit tells whether an exchange is in the fraction, from a number drawn for it.
func (f Fraction) Hit(random uint64) bool {
	return f.denominator != 0 && random%f.denominator < f.numerator
}

// String is the fraction as a percentage.
func (f Fraction) String() string {
	if f.denominator == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%g %%", 100*float64(f.numerator)/float64(f.denominator))
}

// Draw makes another number from an exchange's, so that decisions of different kinds do not hang together: half of the requests, and one weight of
// two in each half.
func Draw(random, purpose uint64) uint64 {
	z := random + (purpose+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

package resource

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// The HTTP filters, by the names under which routes configure them.
const (
	corsFilter   = "envoy.filters.http.cors"
	faultFilter  = "envoy.filters.http.fault"
	routerFilter = "envoy.filters.http.router"
)

// filterConfigs says what a rule asks of filters.
func filterConfigs(r *model.Route) (out map[string]*anypb.Any, err error) {
	out = map[string]*anypb.Any{}
	if r.Fault != nil {
		if f := fault(r.Fault); f != nil {
			if err := valid(f); err != nil {
				return nil, fmt.Errorf("fault: %w", err)
			}
			out[faultFilter] = pack(f)
		}
	}
	if r.CORS != nil {
		c, err := cors(r.CORS)
		if err != nil {
			return nil, fmt.Errorf("CORS policy: %w", err)
		}
		out[corsFilter] = pack(c)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func fault(f *model.Fault) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if f.Delay > 0 && f.DelayShare > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(max(f.Delay, time.Millisecond))}, Percentage: share(f.DelayShare),
		}
	}
	if f.AbortShare > 0 {
		switch {
		case f.AbortStatus != 0:
			out.Abort = &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(f.AbortStatus)}, Percentage: share(f.AbortShare)}
		case f.AbortGRPC != nil:
			out.Abort = &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *f.AbortGRPC}, Percentage: share(f.AbortShare)}
		}
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

func cors(c *model.CORS) (*corsv3.CorsPolicy, error) {
	out := &corsv3.CorsPolicy{
		AllowMethods: utf8(strings.Join(c.Methods, ",")), AllowHeaders: utf8(strings.Join(c.Headers, ",")), ExposeHeaders: utf8(strings.Join(c.Expose, ",")),
		FilterEnabled: &corev3.RuntimeFractionalPercent{DefaultValue: share(100)},
	}
	for _, o := range c.Origins {
		m, err := stringMatch(o)
		if err != nil {
			return nil, fmt.Errorf("allowed origin: %w", err)
		}
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, m)
	}
	if c.MaxAge > 0 {
		out.MaxAge = strconv.FormatInt(int64(cmp.Or(c.MaxAge/time.Second, 1)), 10)
	}
	if c.Credentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*c.Credentials)
	}
	out.ForwardNotMatchingPreflights = wrapperspb.Bool(c.ForwardOthers)
	return out, valid(out)
}

package resource

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/model"
)

// What is sent again if nobody says is the same whether or not somebody says how often.
func TestRetriesByDefault(t *testing.T) {
	unsaid, often := retry(nil), retry(&model.Retry{Attempts: 5})
	const on = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	if unsaid.GetRetryOn() != on || !slices.Equal(unsaid.GetRetriableStatusCodes(), []uint32{503}) {
		t.Errorf("%v", unsaid)
	}
	if often.GetRetryOn() != on || !slices.Equal(often.GetRetriableStatusCodes(), []uint32{503}) || often.GetNumRetries().GetValue() != 5 {
		t.Errorf("%v", often)
	}
	if own := retry(&model.Retry{Attempts: 1, On: "reset, 429"}); own.GetRetryOn() != "reset,retriable-status-codes" || !slices.Equal(own.GetRetriableStatusCodes(), []uint32{429}) {
		t.Errorf("%v", own)
	}
	if none := retry(&model.Retry{}); none != nil {
		t.Errorf("%v", none)
	}
}

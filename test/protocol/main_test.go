package protocol

import (
	"testing"

	"github.com/meshctl/meshctl/internal/testenv/leak"
)

// TestMain looks for what the proxies and what is behind them leave.
func TestMain(m *testing.M) { leak.Main(m) }

package engine

import (
	"testing"

	"github.com/meshctl/meshctl/internal/testenv/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

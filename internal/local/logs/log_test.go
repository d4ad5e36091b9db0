package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, limit int64) *Log {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "c.log"), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestTail(t *testing.T) {
	t.Parallel()
	l := open(t, 0)
	fmt.Fprint(l, "one\ntwo\nthree")
	for n, want := range map[int]string{0: "", 1: "three", 2: "two\nthree", 9: "one\ntwo\nthree"} {
		if got := string(l.Tail(n)); got != want {
			t.Errorf("tail %d: %q, want %q", n, got, want)
		}
	}
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	l := open(t, 1000)
	for i := range 1000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	for _, path := range []string{l.path, l.path + ".1"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1000 {
			t.Errorf("%s has %d bytes", path, info.Size())
		}
	}
	if got := string(l.Tail(1)); got != "line 999\n" {
		t.Errorf("last line is %q", got)
	}
}

func TestFollowSeesAllLinesAcrossRotation(t *testing.T) {
	t.Parallel()
	l := open(t, 100)
	fmt.Fprint(l, "before\nstart\n")
	lines := make(chan string)
	done := make(chan error, 1)
	go func() { done <- l.Copy(context.Background(), lineWriter(lines), 1, true) }()
	if got := <-lines; got != "start\n" {
		t.Fatalf("first %q", got)
	}
	for i := range 50 {
		want := fmt.Sprintf("line %d\n", i)
		fmt.Fprint(l, want)
		if got := <-lines; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	l.Close()
	if err := <-done; err != nil {
		t.Errorf("follow ended with %v", err)
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestCopyAll(t *testing.T) {
	t.Parallel()
	l := open(t, 0)
	text := strings.Repeat("x\n", 100)
	fmt.Fprint(l, text)
	var out bytes.Buffer
	if err := l.Copy(t.Context(), &out, -1, false); err != nil || out.String() != text {
		t.Errorf("copied %d bytes, %v", out.Len(), err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	t.Parallel()
	l := open(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Copy(ctx, &bytes.Buffer{}, -1, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

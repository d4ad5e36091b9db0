package engine

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The wheel fires what a plain list of deadlines would, never early and in the
// first advance at or after the time.
func TestWheelEqualsNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		w.now = rapid.SampledFrom([]uint64{0, 63, 4095, 1 << 30, 1<<36 - 2, 1<<42 - 1}).Draw(t, "base")
		timers := make([]Timer, 20)
		want := map[int]uint64{}
		now := w.now
		span := rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Range(0, 200), rapid.Uint64Range(0, 1<<14), rapid.Uint64Range(0, maxTicks))
		check := func() {
			n := 0
			for i := range timers {
				if _, ok := want[i]; ok != timers[i].Active() {
					t.Fatalf("timer %d active %v, want %v", i, timers[i].Active(), ok)
				} else if ok {
					n++
				}
			}
			if w.count != n {
				t.Fatalf("count %d, want %d", w.count, n)
			}
			at, _, ok := w.next()
			first := uint64(0)
			for _, x := range want {
				if first == 0 || x < first {
					first = x
				}
			}
			if ok != (n > 0) || ok && (at > first || at <= w.now) {
				t.Fatalf("next %d %v at %d, first timer %d", at, ok, w.now, first)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				i := rapid.IntRange(0, len(timers)-1).Draw(t, "timer")
				d := span.Draw(t, "d")
				w.start(&timers[i], now+d)
				want[i] = max(now+d, now+1)
			},
			"stop": func(t *rapid.T) {
				i := rapid.IntRange(0, len(timers)-1).Draw(t, "timer")
				timers[i].Stop()
				delete(want, i)
			},
			"advance": func(t *rapid.T) {
				now += span.Draw(t, "by")
				for {
					x := w.due(now)
					if x == nil {
						break
					}
					i := -1
					for j := range timers {
						if &timers[j] == x {
							i = j
						}
					}
					if at, ok := want[i]; !ok || at > now {
						t.Fatalf("timer %d fired at %d, want %d %v", i, now, at, ok)
					}
					delete(want, i)
				}
				for i, at := range want {
					if at <= now {
						t.Fatalf("timer %d for %d has not fired at %d", i, at, now)
					}
				}
			},
			"": func(*rapid.T) { check() },
		})
	})
}

// Timers started and stopped by timers that fire at the same time.
func TestTimerFromTimer(t *testing.T) {
	t.Parallel()
	w := startEngine(t, Options{Workers: 1}).Workers()[0]
	fired := make(chan string, 10)
	var a, b, again Timer
	on(w, func() {
		// Whichever of the two comes first stops the other.
		a.Fn = func() { fired <- "one"; b.Stop() }
		b.Fn = func() { fired <- "one"; a.Stop() }
		n := 0
		again.Fn = func() {
			if n++; n < 3 {
				w.StartTimer(&again, time.Millisecond)
				return
			}
			fired <- "again"
		}
		w.StartTimer(&a, 5*time.Millisecond)
		w.StartTimer(&b, 5*time.Millisecond)
	})
	if got := <-fired; got != "one" {
		t.Fatal(got)
	}
	on(w, func() { w.StartTimer(&again, 0) })
	if got := <-fired; got != "again" {
		t.Fatalf("got %s, want only one of two timers that stop each other", got)
	}
}

func TestTimerNotEarly(t *testing.T) {
	t.Parallel()
	w := startEngine(t, Options{Workers: 1}).Workers()[0]
	for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 17 * time.Millisecond, 90 * time.Millisecond} {
		took := make(chan time.Duration, 1)
		var x Timer
		on(w, func() {
			start := w.Now()
			x.Fn = func() { took <- w.Now().Sub(start) }
			w.StartTimer(&x, d)
		})
		if got := <-took; got < d {
			t.Errorf("timer of %v fired after %v", d, got)
		}
	}
}

func BenchmarkTimerRestart(b *testing.B) {
	var w wheel
	timers := make([]Timer, 10000)
	for i := range timers {
		w.start(&timers[i], uint64(i*7))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		w.start(&timers[i%len(timers)], uint64(15000+i%1000))
		i++
	}
}

package engine

import (
	"math/bits"
	"time"
)

// Timer runs Fn once on the worker, some time after it was started. Embed it and
// set Fn once; starting, restarting and stopping allocate nothing. The zero
// value is a stopped timer.
type Timer struct {
	Fn func()

	when       uint64 // tick
	next, prev *Timer
	wheel      *wheel // nil when stopped
	slot       uint16
}

// Active reports whether the timer is running.
func (t *Timer) Active() bool { return t.wheel != nil }

// Stop stops the timer. It is fine to stop one that is not running, or has fired.
func (t *Timer) Stop() {
	if t.wheel != nil {
		t.wheel.unlink(t)
	}
}

// A wheel keeps timers in slots of ever coarser spans: level 0 has a slot for
// each of the next 64 ticks, level 1 for each of the next 64 spans of 64 ticks,
// and so on. A timer sits in the level of the highest bit in which its time
// differs from the present, and moves down as its time comes near. Starting and
// stopping are a few instructions whatever the number of timers.
type wheel struct {
	now   uint64 // the last tick that was processed
	used  [wheelLevels]uint64
	slots [wheelLevels*wheelSlots + 1]*Timer // the last one holds what is firing
	count int
}

const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 6
	firing      = wheelLevels * wheelSlots
	// tick is the resolution of timers.
	tick = time.Millisecond
	// maxTicks is the longest time a wheel can hold: about two years.
	maxTicks = 1<<(wheelBits*wheelLevels) - 1
)

// start runs t at tick when; a time that has passed means the next tick.
func (w *wheel) start(t *Timer, when uint64) {
	if t.wheel != nil {
		t.wheel.unlink(t)
	}
	t.when = min(max(when, w.now+1), w.now+maxTicks)
	w.place(t)
	w.count++
}

func (w *wheel) place(t *Timer) {
	level := 0
	if d := t.when ^ w.now; d != 0 {
		// The sum now+maxTicks may differ from now in one bit more than there are
		// levels: the highest level is a ring.
		level = min((bits.Len64(d)-1)/wheelBits, wheelLevels-1)
	}
	s := (t.when >> (level * wheelBits)) & (wheelSlots - 1)
	w.used[level] |= 1 << s
	w.link(t, uint16(level*wheelSlots)+uint16(s))
}

func (w *wheel) link(t *Timer, slot uint16) {
	head := w.slots[slot]
	t.slot, t.wheel, t.prev, t.next = slot, w, nil, head
	if head != nil {
		head.prev = t
	}
	w.slots[slot] = t
}

func (w *wheel) unlink(t *Timer) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.slot] = t.next
		if t.next == nil && t.slot != firing {
			w.used[t.slot/wheelSlots] &^= 1 << (t.slot % wheelSlots)
		}
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev, t.wheel = nil, nil, nil
	w.count--
}

// next is the tick at which the wheel must be advanced: the time of the first
// timer, or an earlier one at which timers move down a level.
func (w *wheel) next() (at uint64, slot uint16, ok bool) {
	for level := range wheelLevels {
		if w.used[level] == 0 {
			continue
		}
		shift := level * wheelBits
		cur := (w.now >> shift) & (wheelSlots - 1)
		ahead := uint64(bits.TrailingZeros64(bits.RotateLeft64(w.used[level], -int(cur))))
		if ahead == 0 && level > 0 {
			// On the highest level, the present slot means one whole turn ahead.
			if rest := w.used[level] &^ (1 << cur); rest != 0 {
				ahead = uint64(bits.TrailingZeros64(bits.RotateLeft64(rest, -int(cur))))
			} else {
				ahead = wheelSlots
			}
		}
		at = (w.now>>shift + ahead) << shift
		return at, uint16(level*wheelSlots) + uint16((cur+ahead)&(wheelSlots-1)), true
	}
	return 0, 0, false
}

// due moves on to tick now and returns a timer that is due, stopped, or nil when
// there is none. Call it until nil; timers may be started and stopped between.
func (w *wheel) due(now uint64) *Timer {
	for {
		if t := w.slots[firing]; t != nil {
			w.unlink(t)
			return t
		}
		at, slot, ok := w.next()
		if !ok || at > now {
			w.now = max(w.now, now)
			return nil
		}
		w.now = at
		w.cascade(slot)
	}
}

// cascade empties a slot whose time has come: into finer slots, or to be fired.
func (w *wheel) cascade(slot uint16) {
	t := w.slots[slot]
	w.slots[slot] = nil
	w.used[slot/wheelSlots] &^= 1 << (slot % wheelSlots)
	for t != nil {
		next := t.next
		if t.when <= w.now {
			w.link(t, firing)
		} else {
			w.place(t)
		}
		t = next
	}
}

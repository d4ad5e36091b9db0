package installopts

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
)

// Progress shows what an Installer does: on a terminal one line that moves, with
// what is waited for and why; else one line for each change.
type Progress struct {
	io  *stdio.Streams
	now func() time.Time

	mu      sync.Mutex
	line    string // what the moving line says
	began   map[string]time.Time
	last    string
	pruning int
	stop    chan struct{}
	done    sync.WaitGroup
}

// NewProgress starts the display. Close ends it.
func NewProgress(io *stdio.Streams, now func() time.Time) *Progress {
	p := &Progress{io: io, now: now, began: map[string]time.Time{}, stop: make(chan struct{})}
	if io.ErrTTY {
		p.done.Go(p.spin)
	}
	return p
}

// frames of the moving line: one turn a second.
var frames = []string{"|", "/", "-", `\`}

func (p *Progress) spin() {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		if p.line != "" {
			text := frames[n%len(frames)] + " " + p.line
			if w := p.io.Width() - 1; len(text) > w {
				text = text[:w-1] + "…"
			}
			p.io.Sayf("\r\x1b[K%s", text)
		}
		p.mu.Unlock()
	}
}

// Close removes the moving line.
func (p *Progress) Close() {
	close(p.stop)
	p.done.Wait()
	p.clear()
}

func (p *Progress) clear() {
	if p.io.ErrTTY {
		p.io.Sayf("\r\x1b[K")
	}
}

// Show takes one event.
func (p *Progress) Show(e install.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	title := install.Title(e.Component)
	if _, known := p.began[e.Component]; !known {
		p.began[e.Component] = p.now()
	}
	took := p.now().Sub(p.began[e.Component]).Round(time.Second)
	switch e.State {
	case install.Applying:
		p.move(fmt.Sprintf("Processing resources for %s: %s", title, e.Detail), "Processing resources for "+title)
	case install.Waiting:
		text := "Waiting for " + e.Detail
		if title != "" {
			text = fmt.Sprintf("Processing resources for %s. Waiting for %s (%s)", title, e.Detail, took)
		}
		p.move(text, strings.TrimSuffix(text, fmt.Sprintf(" (%s)", took)))
	case install.Ready:
		p.say(stdio.Green, "✔", title+" installed")
	case install.Failed:
		p.say(stdio.Red, "✘", title+" encountered an error: "+e.Detail)
	case install.Pruning:
		p.pruning++
		p.move("Removing "+e.Detail, "Removing resources")
	}
}

// move changes the moving line; in pipes the plain text is a line of its own,
// when it is another than before.
func (p *Progress) move(line, plain string) {
	p.line = line
	if !p.io.ErrTTY && plain != p.last {
		p.io.Sayf("- %s\n", plain)
	}
	p.last = plain
}

// say is a line that stays.
func (p *Progress) say(style stdio.Style, mark, text string) {
	p.clear()
	p.line = ""
	p.io.Sayf("%s %s\n", p.io.ErrPaint(style, mark), text)
}

// Done says that all is done.
func (p *Progress) Done(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(stdio.Green, "✔", fmt.Sprintf(format, args...))
}

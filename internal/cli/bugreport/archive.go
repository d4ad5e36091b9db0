package bugreport

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxEntry bounds one file of the archive, so that one log or dump does not push out
// the others.
const maxEntry = 8 << 20

// archive is a tar.gz that is there whole or not at all.
type archive struct {
	path string
	root string // the folder in it
	now  time.Time

	mu    sync.Mutex
	file  *os.File
	gz    *gzip.Writer
	tar   *tar.Writer
	room  int64
	files int
	err   error
}

func newArchive(path string, room int64, now time.Time) (*archive, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".bug-report-*")
	if err != nil {
		return nil, err
	}
	a := &archive{path: path, now: now, room: room, file: f, gz: gzip.NewWriter(f)}
	a.root = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".tar")
	a.tar = tar.NewWriter(a.gz)
	return a, nil
}

var errFull = errors.New("the archive is full (--max-size)")

// add puts a file in; of one that is too long the end, which is the latest of a log.
func (a *archive) add(name string, data []byte) error {
	if len(data) > maxEntry {
		note := fmt.Sprintf("[the first %d bytes are left out]\n", len(data)-maxEntry)
		data = append([]byte(note), data[len(data)-maxEntry:]...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if int64(len(data)) > a.room {
		return errFull
	}
	a.room -= int64(len(data))
	a.files++
	h := &tar.Header{Name: a.root + "/" + name, Mode: 0o644, Size: int64(len(data)), ModTime: a.now, Format: tar.FormatPAX}
	if a.err = a.tar.WriteHeader(h); a.err == nil {
		_, a.err = a.tar.Write(data)
	}
	return a.err
}

// close gives the archive its name.
func (a *archive) close() error {
	err := errors.Join(a.err, a.tar.Close(), a.gz.Close(), a.file.Close())
	if err == nil {
		err = os.Rename(a.file.Name(), a.path)
	}
	if err != nil {
		_ = os.Remove(a.file.Name())
	}
	return err
}

// abandon leaves nothing.
func (a *archive) abandon() {
	_ = a.file.Close()
	_ = os.Remove(a.file.Name())
}

package oci

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// programs in an image are here.
const binFolder = "usr/local/bin"

// entry is a file of a layer. All are root's, and as old as the epoch.
type entry struct {
	name string
	mode fs.FileMode
	data []byte // of a file, unless from is set
	from string // path of a file of this machine
	link string // of a hard link: the entry it is the same as
}

// ground is the layer that all images begin with.
func ground() (v1.Layer, error) {
	roots, err := trustedRoots()
	if err != nil {
		return nil, err
	}
	const (
		passwd = "root:x:0:0:root:/:/nologin\nistio-proxy:x:1337:1337:istio-proxy:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n"
		group  = "root:x:0:\nistio-proxy:x:1337:\nnonroot:x:65532:\n"
	)
	return newLayer([]entry{
		{name: "etc", mode: fs.ModeDir | 0o755},
		{name: "etc/group", mode: 0o644, data: []byte(group)},
		{name: "etc/passwd", mode: 0o644, data: []byte(passwd)},
		{name: "etc/ssl", mode: fs.ModeDir | 0o755},
		{name: "etc/ssl/certs", mode: fs.ModeDir | 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: roots},
		{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
	})
}

// trustedRoots are Mozilla's, from a module that is updated with the others.
// Roots that Mozilla trusts with a reservation are left out: a file of
// certificates cannot say it.
func trustedRoots() ([]byte, error) {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("writing the trusted roots: %w", err)
		}
	}
	return out.Bytes(), nil
}

// programLayer holds a program, and its other names as hard links to it: a
// process sees the name that it was called by, as argv[0] and as its executable.
func programLayer(path string, names []string) (v1.Layer, error) {
	entries := []entry{
		{name: "usr", mode: fs.ModeDir | 0o755},
		{name: "usr/local", mode: fs.ModeDir | 0o755},
		{name: binFolder, mode: fs.ModeDir | 0o755},
		{name: binFolder + "/" + names[0], mode: 0o755, from: path},
	}
	for _, link := range slices.Sorted(slices.Values(names[1:])) {
		entries = append(entries, entry{name: binFolder + "/" + link, mode: 0o755, link: binFolder + "/" + names[0]})
	}
	return newLayer(entries)
}

// newLayer makes a layer that is read from its files again when it is needed.
func newLayer(entries []entry) (v1.Layer, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeTar(w, entries)) }()
		return r, nil
	}, tarball.WithCompressedCaching, tarball.WithMediaType("application/vnd.oci.image.layer.v1.tar+gzip"))
	if err != nil {
		return nil, fmt.Errorf("making a layer: %w", err)
	}
	return layer, nil
}

// writeTar writes entries in their order with nothing of this machine in them.
func writeTar(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		if err := e.write(t); err != nil {
			return fmt.Errorf("packing %s: %w", e.name, err)
		}
	}
	return t.Close()
}

func (e entry) write(t *tar.Writer) error {
	h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Format: tar.FormatUSTAR}
	if e.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	var content io.Reader = bytes.NewReader(e.data)
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.link
	case e.from != "":
		f, err := os.Open(e.from)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Typeflag, h.Size, content = tar.TypeReg, info.Size(), f
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return err
}

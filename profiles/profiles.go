// Package profiles holds the named sets of install options. Each is an
// IstioOperator document that says what it changes of the profile default.
package profiles

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

// Default is the profile that all others are laid over.
const Default = "default"

//go:embed *.yaml
var files embed.FS

// FS is the files of all profiles.
func FS() fs.FS { return files }

// Names lists the profiles, default first, then in alphabetical order.
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(err) // the folder is in the program
	}
	names := []string{Default}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".yaml"); name != Default {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	return names
}

// Read is the text of a profile; false if there is none of the name.
func Read(name string) ([]byte, bool) {
	b, err := files.ReadFile(name + ".yaml")
	return b, err == nil
}

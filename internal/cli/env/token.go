package env

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/whatif"
)

// TokenFlags say which token a request that is asked about carries.
type TokenFlags struct{ claims, file string }

// maxTokenFile bounds a file with a token.
const maxTokenFile = 1 << 20

// Add adds the flags.
func (f *TokenFlags) Add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.claims, "claims", "", "`CLAIMS` of a token that the issuer has signed, as iss=ISSUER,sub=USER,groups=a,groups=b or JSON")
	cmd.Flags().StringVar(&f.file, "token", "", "`file` with a token (JWT); - is standard input")
}

// Token reads it; nil when there is none.
func (f *TokenFlags) Token(in io.Reader) (*whatif.Token, error) {
	switch {
	case f.claims != "" && f.file != "":
		return nil, exit.Usagef("--claims and --token exclude each other")
	case f.claims != "":
		claims, err := whatif.ParseClaims(f.claims)
		if err != nil {
			return nil, exit.Usagef("%v", err).Try("--claims 'iss=https://issuer.example,sub=user,realm.role=admin'")
		}
		return &whatif.Token{Claims: claims}, nil
	case f.file == "":
		return nil, nil //nolint:nilnil // there need be none
	}
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return nil, exit.Dataf("the token cannot be read").Because(err)
		}
		defer file.Close()
		in = file
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxTokenFile))
	if err != nil {
		return nil, exit.Dataf("the token cannot be read").Because(err)
	}
	return &whatif.Token{Raw: strings.TrimSpace(string(raw))}, nil
}

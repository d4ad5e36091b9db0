package oci

import (
	"context"
	"fmt"
	"path"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is where images are pushed to.
type Registry struct {
	// Hub takes the place of the one in the images' names; empty: theirs.
	Hub string
	// PlainHTTP is for registries without TLS. Those on this machine need no asking.
	PlainHTTP bool
}

// Push sends an archive's images, and calls each with what an image is called
// there and its digest. Credentials are docker's.
func (r Registry) Push(ctx context.Context, a *Archive, each func(reference, digest string)) error {
	for _, i := range a.Images {
		target := r.target(i.Reference)
		var opts []name.Option
		if r.PlainHTTP {
			opts = append(opts, name.Insecure)
		}
		ref, err := name.ParseReference(target, opts...)
		if err != nil {
			return err
		}
		digest, err := i.index.Digest()
		if err != nil {
			return err
		}
		if err := remote.WriteIndex(ref, i.index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return fmt.Errorf("pushing %s: %w", target, err)
		}
		each(target, digest.String())
	}
	return nil
}

// target is the name of an image in this registry.
func (r Registry) target(reference string) string {
	if r.Hub == "" {
		return reference
	}
	repository, tag := cutTag(reference)
	return Reference(r.Hub, tag, path.Base(repository))
}

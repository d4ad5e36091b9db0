package controller

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
)

// alphabet is what Kubernetes makes name suffixes of: no vowels, so no words,
// and nothing that looks like something else.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// suffix turns a number into n characters of the alphabet.
func suffix(v uint64, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[v%uint64(len(alphabet))]
		v /= uint64(len(alphabet))
	}
	return string(b)
}

func hashOf(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	// FNV's low bits of short inputs differ little; fold the high ones in.
	v := h.Sum64()
	return v ^ v>>29
}

// templateHash names one version of a pod template.
func templateHash(t corev1.PodTemplateSpec) (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("hash pod template: %w", err)
	}
	return suffix(hashOf(string(b)), 10), nil
}

// uid makes a UID of the form Kubernetes uses, the same for the same parts.
func uid(parts ...string) string {
	a, b := hashOf(append(parts, "a")...), hashOf(append(parts, "b")...)
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

package meshd

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/meshctl/meshctl/internal/identity"
)

// Bounds of token reviews. A token that was accepted is believed for a short
// while: a pod that is deleted must not keep its identity for long.
const (
	reviewTimeout  = 10 * time.Second
	reviewBelieved = time.Minute
	reviewCached   = 4096
	reviewAtOnce   = 32
	tokenBytes     = 16 << 10
)

// tokenReviewer asks the API server whose a token is. What cannot be a token for
// us is refused without asking: anybody can send one.
type tokenReviewer struct {
	client authenticationclient.TokenReviewInterface
	now    func() time.Time
	slots  chan struct{}

	mu    sync.Mutex
	known map[[sha256.Size]byte]reviewed
}

type reviewed struct {
	namespace, account, pod string
	until                   time.Time
}

func newTokenReviewer(client authenticationclient.TokenReviewInterface, now func() time.Time) *tokenReviewer {
	return &tokenReviewer{client: client, now: now, slots: make(chan struct{}, reviewAtOnce), known: map[[sha256.Size]byte]reviewed{}}
}

// Verify implements identity.TokenVerifier.
func (t *tokenReviewer) Verify(token string) (namespace, serviceAccount, pod string, err error) {
	expires, err := t.precheck(token)
	if err != nil {
		return "", "", "", err
	}
	key := sha256.Sum256([]byte(token))
	if r, ok := t.lookup(key); ok {
		return r.namespace, r.account, r.pod, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), reviewTimeout)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return "", "", "", errors.New("too many tokens are being reviewed")
	}
	r, err := t.review(ctx, token)
	if err != nil {
		return "", "", "", err
	}
	r.until = t.now().Add(reviewBelieved)
	if expires.Before(r.until) {
		r.until = expires
	}
	t.keep(key, r)
	return r.namespace, r.account, r.pod, nil
}

// precheck looks at a token's claims, which nobody has vouched for yet.
func (t *tokenReviewer) precheck(token string) (expires time.Time, err error) {
	if len(token) > tokenBytes {
		return expires, errors.New("token too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return expires, errors.New("token is not a JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return expires, errors.New("token is not a JWT")
	}
	var claims struct {
		Audience audience `json:"aud"`
		Expires  float64  `json:"exp"`
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return expires, errors.New("token is not a JWT")
	}
	if !slices.Contains(claims.Audience, identity.TokenAudience) {
		return expires, fmt.Errorf("token is not for audience %s", identity.TokenAudience)
	}
	expires = time.Unix(int64(claims.Expires), 0)
	if !t.now().Before(expires) {
		return expires, errors.New("token expired")
	}
	return expires, nil
}

// audience is one or several, as RFC 7519 allows.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	*a = make([]string, 1)
	return json.Unmarshal(b, &(*a)[0])
}

func (t *tokenReviewer) review(ctx context.Context, token string) (reviewed, error) {
	answer, err := t.client.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{identity.TokenAudience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return reviewed{}, fmt.Errorf("review a token: %w", err)
	}
	st := answer.Status
	if !st.Authenticated {
		return reviewed{}, fmt.Errorf("the API server does not accept the token: %s", st.Error)
	}
	if !slices.Contains(st.Audiences, identity.TokenAudience) {
		return reviewed{}, fmt.Errorf("token is not for audience %s", identity.TokenAudience)
	}
	parts := strings.Split(st.User.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return reviewed{}, errors.New("token is not of a service account")
	}
	r := reviewed{namespace: parts[2], account: parts[3]}
	if pods := st.User.Extra["authentication.kubernetes.io/pod-name"]; len(pods) == 1 {
		r.pod = pods[0]
	}
	return r, nil
}

func (t *tokenReviewer) lookup(key [sha256.Size]byte) (reviewed, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.known[key]
	if ok && !t.now().Before(r.until) {
		delete(t.known, key)
		return r, false
	}
	return r, ok
}

// keep remembers an answer. A full cache forgets what is over, or else anything.
func (t *tokenReviewer) keep(key [sha256.Size]byte, r reviewed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= reviewCached {
		for k, old := range t.known {
			if !t.now().Before(old.until) {
				delete(t.known, k)
			}
		}
	}
	for k := range t.known {
		if len(t.known) < reviewCached {
			break
		}
		delete(t.known, k)
	}
	t.known[key] = r
}

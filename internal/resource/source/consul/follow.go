package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Times of questions.
const (
	waitTime   = 5 * time.Minute // how long the agent may hold an answer back
	answerTime = 20 * time.Second
	minRetry   = 200 * time.Millisecond
	maxRetry   = 30 * time.Second
)

// follow asks for a path again and again, each time for what comes after the last
// answer, until ctx ends (blocking queries of Consul's HTTP API).
func (s *Source) follow(ctx context.Context, path string, tell func(update), read func([]byte) (update, error)) {
	var index uint64
	pause := minRetry
	for ctx.Err() == nil {
		body, next, err := s.ask(ctx, path, index)
		var u update
		if err == nil {
			u, err = read(body)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			tell(update{err: err})
			index = 0 // whoever answers next may be another agent
			sleep(ctx, pause/2+rand.N(pause))
			pause = min(2*pause, maxRetry)
			continue
		}
		pause = minRetry
		if next == index && index != 0 {
			continue // nothing has changed in the time
		}
		if next < index || next == 0 {
			next = 0 // the agent has begun anew
			sleep(ctx, minRetry)
		}
		index = next
		tell(u)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// ask makes one query; index 0 is answered at once.
func (s *Source) ask(ctx context.Context, path string, index uint64) (body []byte, next uint64, err error) {
	timeout := answerTime
	q := url.Values{}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
		q.Set("wait", waitTime.String())
		timeout += waitTime + waitTime/16 // the agent adds up to a sixteenth
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.base.String(), "/")+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, 0, err
	}
	if s.o.TokenFile != "" {
		token, err := os.ReadFile(s.o.TokenFile)
		if err != nil {
			return nil, 0, fmt.Errorf("read the token: %w", err)
		}
		req.Header.Set("X-Consul-Token", strings.TrimSpace(string(token)))
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, 0, err
	case resp.StatusCode == http.StatusForbidden:
		return nil, 0, errors.New("the ACL token gives no right to read services and nodes (403)")
	case resp.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("it answers %s: %.200s", resp.Status, body)
	case len(body) > maxAnswer:
		return nil, 0, fmt.Errorf("its answer is larger than %d bytes", maxAnswer)
	}
	next, err = strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return nil, 0, errors.New("it is no Consul agent: the answer has no X-Consul-Index")
	}
	return body, next, nil
}

// ownService is Consul itself.
const ownService = "consul"

func readNames(body []byte) (update, error) {
	var tags map[string][]string
	if err := json.Unmarshal(body, &tags); err != nil {
		return update{}, fmt.Errorf("decode the list of services: %w", err)
	}
	u := update{names: []string{}}
	for name := range tags {
		if name != ownService {
			u.names = append(u.names, name)
		}
	}
	return u, nil
}

// instance is one instance of a service with its health, as the API gives it.
type instance struct {
	Node struct {
		Node, Address, Datacenter string
		Meta                      map[string]string
	}
	Service struct {
		ID, Service, Address string
		Port                 int
		Kind                 string
		Tags                 []string
		Meta                 map[string]string
		Weights              struct{ Passing int }
	}
	Checks []struct{ Status string }
}

func readInstances(body []byte) (update, error) {
	var all []instance
	if err := json.Unmarshal(body, &all); err != nil {
		return update{}, fmt.Errorf("decode instances: %w", err)
	}
	if len(all) > maxInstances {
		return update{}, fmt.Errorf("a service has %d instances, at most %d are read", len(all), maxInstances)
	}
	return update{instances: all}, nil
}

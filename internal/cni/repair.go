package cni

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// exitUnproven is the exit code of a pod's check that its traffic is not redirected.
const exitUnproven = 126

// repair deletes pods that started before the plugin was there, so that what made
// them makes them anew. A pod that nothing would make again is only named.
func (in *installer) repair(ctx context.Context) {
	ca, err := os.ReadFile(in.CAFile)
	if err != nil {
		in.Log.WarnContext(ctx, "pods not looked at", "err", err)
		return
	}
	a, err := newAPI(in.Server, ca, func() (string, error) {
		b, err := os.ReadFile(in.TokenFile)
		return strings.TrimSpace(string(b)), err
	})
	if err == nil {
		err = in.repairAll(ctx, a)
	}
	if err != nil {
		in.Log.WarnContext(ctx, "pods not looked at", "err", err)
	}
}

func (in *installer) repairAll(ctx context.Context, a *api) error {
	var list struct {
		Metadata struct {
			Continue string `json:"continue"`
		} `json:"metadata"`
		Items []struct {
			pod
			Metadata struct {
				Name            string `json:"name"`
				Namespace       string `json:"namespace"`
				UID             string `json:"uid"`
				OwnerReferences []struct {
					Controller bool `json:"controller"`
				} `json:"ownerReferences"`
				DeletionTimestamp string `json:"deletionTimestamp"`
			} `json:"metadata"`
		} `json:"items"`
	}
	query := url.Values{"fieldSelector": {"spec.nodeName=" + in.Node}, "limit": {"500"}, "resourceVersion": {"0"}}
	if err := a.do(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), &list); err != nil {
		return err
	}
	for _, p := range list.Items {
		if !p.broken() || p.Metadata.DeletionTimestamp != "" {
			continue
		}
		log := in.Log.With("pod", p.Metadata.Namespace+"/"+p.Metadata.Name)
		controlled := false
		for _, o := range p.Metadata.OwnerReferences {
			controlled = controlled || o.Controller
		}
		if !controlled {
			log.WarnContext(ctx, "the pod's traffic is not redirected; nothing would make it anew, so it is not deleted")
			continue
		}
		err := a.do(ctx, http.MethodDelete, podPath(p.Metadata.Namespace, p.Metadata.Name), nil)
		var gone *apiError
		switch {
		case err == nil:
			log.InfoContext(ctx, "deleted: it started before the plugin was there")
		case errors.As(err, &gone) && gone.status == http.StatusNotFound:
		default:
			log.WarnContext(ctx, "not deleted", "err", err)
		}
	}
	return nil
}

// broken reports whether the pod found that its traffic is not redirected.
func (p *pod) broken() bool {
	for _, s := range p.Status.InitContainerStatuses {
		if s.Name != validateName {
			continue
		}
		last := s.State.Terminated
		if last == nil { // it waits for the next try
			last = s.LastState.Terminated
		}
		return last != nil && last.ExitCode == exitUnproven
	}
	return false
}

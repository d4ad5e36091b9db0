package get

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/resource"
)

// Ref is a kind, and one object of it when there is a name.
type Ref struct {
	Info *resource.KindInfo
	Name string
}

// groups of kinds that have a name of their own.
var groups = map[string]func(*resource.KindInfo) bool{
	"mesh": (*resource.KindInfo).IsIstio,
	"all": func(k *resource.KindInfo) bool {
		return slices.Contains([]resource.Kind{resource.KindPod, resource.KindService, resource.KindDeployment, resource.KindStatefulSet, resource.KindDaemonSet, resource.KindJob}, k.Kind)
	},
}

// ParseRefs reads KIND[,KIND] [NAME…] and KIND/NAME….
func ParseRefs(args []string) ([]Ref, error) {
	if strings.Contains(args[0], "/") {
		var out []Ref
		for _, a := range args {
			kind, name, ok := strings.Cut(a, "/")
			if !ok || name == "" {
				return nil, exit.Usagef("%q is not KIND/NAME", a)
			}
			info, err := lookup(kind)
			if err != nil {
				return nil, err
			}
			out = append(out, Ref{info, name})
		}
		return out, nil
	}
	var infos []*resource.KindInfo
	for kind := range strings.SplitSeq(args[0], ",") {
		if in, ok := groups[strings.ToLower(kind)]; ok {
			for _, k := range resource.Kinds() {
				if in(&k) {
					infos = append(infos, resource.InfoOf(k.Kind))
				}
			}
			continue
		}
		info, err := lookup(kind)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	var out []Ref
	for _, info := range infos {
		if len(args) == 1 {
			out = append(out, Ref{Info: info})
		}
		for _, name := range args[1:] {
			out = append(out, Ref{info, name})
		}
	}
	return out, nil
}

func lookup(kind string) (*resource.KindInfo, error) {
	info, ok := resource.LookupKind(kind)
	if ok {
		return info, nil
	}
	err := exit.Usagef("there is no kind %q", kind)
	if near := resource.SuggestKind(kind); near != "" {
		return nil, err.Try("did you mean %s?", near)
	}
	return nil, err.Try("meshctl get mesh -A, for all of Istio's kinds")
}

// CompleteArgs completes kinds, and then the names of objects.
func CompleteArgs(e *env.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var out []cobra.Completion
		if len(args) == 0 {
			for _, k := range resource.Kinds() {
				out = append(out, k.Singular())
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		}
		info, ok := resource.LookupKind(args[0])
		if !ok {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return e.CompleteObjects(cmd, info), cobra.ShellCompDirectiveNoFileComp
	}
}

package proxyconfig

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// defaultLevel is what --reset sets where a proxy does not say what it was
// started with: Istio's default.
const defaultLevel = "warning"

// levels are Envoy's, from the most to the least talkative.
func levels() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

func newLog(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var level string
	var reset bool
	cmd := &cobra.Command{
		Use:     "log POD...",
		Aliases: []string{"o"},
		Short:   "Show or set how much a proxy logs",
		Long: `Show or set the log levels of a proxy, for all of it or one logger:
` + strings.Join(levels(), ", ") + `.`,
		Example: `  meshctl proxy-config log productpage-v1
  meshctl pc log productpage-v1 --level debug
  meshctl pc log -l app=reviews --level rbac:debug,upstream:info
  meshctl pc log productpage-v1 --reset`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			if reset && level != "" {
				return exit.Usagef("--level and --reset exclude each other")
			}
			queries, err := levelQueries(level)
			if err != nil {
				return err
			}
			return t.log(cmd.Context(), queries, reset)
		},
	}
	t.addFlags(cmd, false)
	cmd.Flags().StringVar(&level, "level", "", "`level`, or LOGGER:LEVEL[,LOGGER:LEVEL...]")
	cmd.Flags().BoolVarP(&reset, "reset", "r", false, "set all to what the proxy was started with")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(levels(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// levelQueries are the requests that set levels; one that only asks, for "".
func levelQueries(text string) ([]string, error) {
	if text == "" {
		return []string{"/logging"}, nil
	}
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		logger, level, ok := strings.Cut(part, ":")
		if !ok {
			logger, level = "level", part
		}
		if !slices.Contains(levels(), level) || logger == "" {
			return nil, exit.Usagef("%q is not [LOGGER:]LEVEL with a level of %s", part, strings.Join(levels(), ", "))
		}
		out = append(out, "/logging?"+url.Values{logger: {level}}.Encode())
	}
	return out, nil
}

// logger is one row.
type logger struct {
	Pod    string `json:"pod"`
	Logger string `json:"logger"`
	Level  string `json:"level"`
}

// startLevel is the level that a proxy was started with.
func (p proxy) startLevel(ctx context.Context) (string, error) {
	body, err := p.call(ctx, http.MethodGet, "/server_info")
	if err != nil {
		return "", err
	}
	var info struct {
		Options struct {
			Level string `json:"log_level"`
		} `json:"command_line_options"`
	}
	_ = json.Unmarshal(body, &info) // of another proxy: no level that we know
	if !slices.Contains(levels(), info.Options.Level) {
		return defaultLevel, nil
	}
	return info.Options.Level, nil
}

func (t *Target) log(ctx context.Context, queries []string, reset bool) error {
	proxies, err := t.proxies(ctx)
	if err != nil {
		return err
	}
	rows := []logger{}
	for _, p := range proxies {
		if reset {
			level, err := p.startLevel(ctx)
			if err != nil {
				return err
			}
			if queries, err = levelQueries(level); err != nil {
				return err
			}
		}
		var body []byte
		for _, q := range queries {
			if body, err = p.call(ctx, http.MethodPost, q); err != nil {
				return err
			}
		}
		rows = append(rows, readLoggers(p.name, string(body))...)
	}
	return t.Env.IO.Print(t.Format, stdio.Document{
		Kind: "LoggerList", Items: rows, Empty: "the proxy names no logger",
		Table: func() stdio.Table {
			tab := stdio.Table{Columns: []string{"LOGGER", "LEVEL"}}
			if len(proxies) > 1 {
				tab.Columns = []string{"POD", "LOGGER", "LEVEL"}
			}
			for _, r := range rows {
				row := []string{r.Logger, r.Level}
				if len(proxies) > 1 {
					row = append([]string{r.Pod}, row...)
				}
				tab.Rows = append(tab.Rows, row)
			}
			return tab
		},
	})
}

// readLoggers reads "  name: level" lines.
func readLoggers(pod, text string) []logger {
	var out []logger
	for line := range strings.Lines(text) {
		name, level, ok := strings.Cut(strings.TrimSpace(line), ":")
		if level = strings.TrimSpace(level); ok && level != "" && strings.HasPrefix(line, " ") {
			out = append(out, logger{pod, name, level})
		}
	}
	return out
}

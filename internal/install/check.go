package install

import (
	"context"
	"errors"

	"github.com/meshctl/meshctl/internal/kube"
)

// Mark is the outcome of a check.
type Mark string

// Marks, in linkerd's words.
const (
	Success Mark = "success"
	Warning Mark = "warning"
	Bad     Mark = "error"
)

// Codes of what precheck finds, Istio's; each has a page in docs/diagnostics.
const (
	codeRights       = "IST0141"
	codeOldCluster   = "IST0142"
	codeOldGateway   = "IST0156"
	codeChanges      = "IST0169"
	codeAgingGateway = "IST0172"
)

// Check is one thing that was looked at.
type Check struct {
	Description string `json:"description"`
	Result      Mark   `json:"result"`
	Error       string `json:"error,omitempty"`
	Hint        string `json:"hint,omitempty"`
	// Code leads to a page about what was found, for some.
	Code string `json:"code,omitempty"`
}

// Category is checks that belong together. Later ones are not made when a fatal
// one of an earlier category fails.
type Category struct {
	Name   string  `json:"categoryName"`
	Checks []Check `json:"checks"`
}

// CheckInput says what is to be checked.
type CheckInput struct {
	Namespace string
	Revision  string
	Release   Release // what would be installed, for the rights
	// Before looks only at what an installation needs.
	Before bool
	// Version is that of this program's images, for the skew.
	Version string
}

// checker collects results.
type checker struct {
	i    *Installer
	in   CheckInput
	all  []Category
	last *Category
}

func (c *checker) category(name string) {
	c.all = append(c.all, Category{Name: name})
	c.last = &c.all[len(c.all)-1]
}

func (c *checker) add(mark Mark, description, problem, hint string) {
	if mark == Success {
		problem, hint = "", ""
	}
	c.last.Checks = append(c.last.Checks, Check{Description: description, Result: mark, Error: problem, Hint: hint})
}

// code is that of the last check, if it is not well.
func (c *checker) code(code string) {
	if k := &c.last.Checks[len(c.last.Checks)-1]; k.Result != Success {
		k.Code = code
	}
}

// judge adds a check that is an error, or a success.
func (c *checker) judge(description string, err error, hint string) bool {
	if err == nil {
		c.add(Success, description, "", "")
		return true
	}
	var k *kube.Error
	if errors.As(err, &k) && len(k.Steps) > 0 {
		hint = k.Steps[0]
	}
	c.add(Bad, description, err.Error(), hint)
	return false
}

// warn adds a check that is a warning when there is a problem.
func (c *checker) warn(description, problem, hint string) {
	if problem == "" {
		c.add(Success, description, "", "")
		return
	}
	c.add(Warning, description, problem, hint)
}

// Check looks at a cluster, category by category, and stops where going on would
// tell nothing.
func (i *Installer) Check(ctx context.Context, in CheckInput) []Category {
	c := &checker{i: i, in: in}
	if !c.cluster(ctx) {
		return c.all
	}
	if in.Before {
		c.beforeInstall(ctx)
		return c.all
	}
	if c.controlPlane(ctx) {
		c.webhooks(ctx)
		c.certificates(ctx)
		c.dataPlane(ctx)
		c.gateways(ctx)
	}
	return c.all
}

// Healthy reports whether nothing is an error.
func Healthy(all []Category) bool {
	for _, c := range all {
		for _, k := range c.Checks {
			if k.Result == Bad {
				return false
			}
		}
	}
	return true
}

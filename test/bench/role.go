package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// roles are what this program does when it is called as one of its own processes.
// A role gets its task as JSON and answers by one line of JSON; those that serve
// end when their standard input does.
var roles = map[string]func(args []string) error{
	"backend": func(args []string) error { return roleWith(args, serveBackend) },
	"load":    func(args []string) error { return roleWith(args, runLoad) },
	"hold":    func(args []string) error { return roleWith(args, holdConnections) },
	"profile": func(args []string) error { return roleWith(args, profileProxy) },
}

func roleWith[T any](args []string, run func(T) error) error {
	if len(args) != 1 {
		return errors.New("a role takes its task as one argument of JSON")
	}
	var task T
	if err := json.Unmarshal([]byte(args[0]), &task); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	return run(task)
}

func answer(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(b, '\n'))
	return err
}

// marshal is a task as an argument.
func marshal(task any) (string, error) {
	b, err := json.Marshal(task)
	return string(b), err
}

// untilParentEnds waits for the end of standard input.
func untilParentEnds() {
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// readAnswer reads one line of JSON from a role.
func readAnswer(p *process, v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s gave no answer: %w (its log: %s)", p.name, err, tail(p.log.Name()))
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("answer of %s: %w", p.name, err)
	}
	return nil
}

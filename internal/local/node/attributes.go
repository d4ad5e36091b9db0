package node

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Attributes returns how to start the child that becomes a node. The child dies
// with the operating-system thread that starts it, so start it from a goroutine
// that is locked to its thread and lives as long as the node.
//
// An ordinary user can map only itself (0 inside is the user outside). Root
// keeps all user ids it has, so that runAsUser works there.
func Attributes() (*syscall.SysProcAttr, error) {
	uids, gids, err := idMappings()
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS |
			syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UidMappings:                uids,
		GidMappings:                gids,
		GidMappingsEnableSetgroups: os.Geteuid() == 0,
		Pdeathsig:                  syscall.SIGKILL,
		Setsid:                     true,
	}, nil
}

func idMappings() (uids, gids []syscall.SysProcIDMap, err error) {
	if os.Geteuid() != 0 {
		one := func(id int) []syscall.SysProcIDMap {
			return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		}
		return one(os.Geteuid()), one(os.Getegid()), nil
	}
	if uids, err = ownMap("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	if gids, err = ownMap("/proc/self/gid_map"); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// ownMap reads which ids exist here and maps each to itself.
func ownMap(path string) ([]syscall.SysProcIDMap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read id map: %w", err)
	}
	defer f.Close()
	return parseOwnMap(f)
}

// parseOwnMap reads the format of user_namespaces(7): inside, outside, length.
func parseOwnMap(r io.Reader) ([]syscall.SysProcIDMap, error) {
	var maps []syscall.SysProcIDMap
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var inside, outside, size int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("parse id map line %q: %w", lines.Text(), err)
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read id map: %w", err)
	}
	return maps, nil
}

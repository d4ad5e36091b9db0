// Package image says which local program stands for a container image, since a
// local mesh has no container engine.
//
// The program takes the place of the first word of the container's command (or
// of the image's entry point when there is none); the other words of command
// and all of args are passed on. Where it comes from, first match wins:
//
//  1. the pod's annotation local.meshctl.dev/program.<container>;
//
//  2. the pod's annotation local.meshctl.dev/program, for all its containers;
//
//  3. the folder's meshctl-local.yaml:
//
//     images:
//     "example/shop:*": {program: ./bin/shop --verbose}  # a command line
//     "example/cart*":  {build: ./cmd/cart}              # a Go main package
//     "meshctl/bookinfo*": {self: bookinfo}              # this meshctl, under that name
//     resources:                                         # what `up` loads
//     - shop.yaml
package image

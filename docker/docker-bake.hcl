# The image matrix. By itself: docker buildx bake --file docker/docker-bake.hcl train
# `inv` builds the same targets from it, one after the other, when a stage first needs them.

# The day of the base image's Debian snapshot (2026-09-18, UTC): the date of every file.
variable "SOURCE_DATE_EPOCH" { default = "1789689600" }
# off: Debian packages of today, for hosts that do not reach the snapshot archive.
variable "DRYDOCK_SNAPSHOT" { default = "on" }
# Certificates to trust while building, for networks that inspect HTTPS; never part of an image.
variable "DRYDOCK_CA" { default = "" }
# A pip.conf whose index-url is used while building; never part of an image.
variable "DRYDOCK_PIP_CONF" { default = "" }
# The folder that holds what no registry has: Rockchip's wheel for rk3399pro.
variable "DRYDOCK_VENDOR" { default = "docker/rk3399pro" }
# Where layers are kept between builds of a CI, e.g. type=gha or type=registry,ref=...; needs a
# builder that can export them (docker buildx create --driver docker-container).
variable "DRYDOCK_CACHE_FROM" { default = "" }
variable "DRYDOCK_CACHE_TO" { default = "" }
variable "TAG" { default = "dev" }

# All that a computer can need; train-cuda is of use to hosts with an NVIDIA GPU only.
group "default" { targets = ["train", "openvino", "litert", "nvidia", "movidius", "rknn", "render", "annotate"] }
# Not without Rockchip's wheel.
group "vendor" { targets = ["rk3399pro"] }
group "gpu" { targets = ["train-cuda"] }
group "devices" {
  targets = [
    "device-openvino-cpu",
    "device-openvino-gpu",
    "device-nvidia",
    "device-arm64",
    "device-rockchip",
  ]
}

target "_common" {
  args = {
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
    DRYDOCK_SNAPSHOT  = DRYDOCK_SNAPSHOT
  }
  secret = concat(
    DRYDOCK_CA == "" ? [] : ["id=ca,src=${DRYDOCK_CA}"],
    DRYDOCK_PIP_CONF == "" ? [] : ["id=pip,src=${DRYDOCK_PIP_CONF}"],
  )
  cache-from = DRYDOCK_CACHE_FROM == "" ? [] : [DRYDOCK_CACHE_FROM]
  cache-to   = DRYDOCK_CACHE_TO == "" ? [] : [DRYDOCK_CACHE_TO]
  attest = ["type=provenance,disabled=true"] # it holds the time of the build
}

target "base" {
  inherits = ["_common"]
  context  = "docker/base"
  target   = "base"
  tags     = ["drydock/base:${TAG}"]
}

target "builder" {
  inherits = ["_common"]
  context  = "docker/base"
  target   = "builder"
  tags     = ["drydock/builder:${TAG}"]
}

# Debian 11, for toolchains that stop at Python 3.9.
target "bullseye" {
  inherits = ["_common"]
  context  = "docker/bullseye"
  contexts = { builder = "target:builder" }
  target   = "bullseye"
  tags     = ["drydock/bullseye:${TAG}"]
}

target "bullseye-builder" {
  inherits = ["_common"]
  context  = "docker/bullseye"
  contexts = { builder = "target:builder" }
  target   = "bullseye-builder"
  tags     = ["drydock/bullseye-builder:${TAG}"]
}

target "train" {
  inherits = ["_common"]
  context  = "docker/train"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/train:${TAG}"]
}

# The same Dockerfile on another lock.
target "train-cuda" {
  inherits   = ["_common"]
  context    = "docker/train-cuda"
  dockerfile = "../train/Dockerfile"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/train-cuda:${TAG}"]
}

target "openvino" {
  inherits = ["_common"]
  context  = "docker/openvino"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/openvino:${TAG}"]
}

target "litert" {
  inherits = ["_common"]
  context  = "docker/litert"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/litert:${TAG}"]
}

target "nvidia" {
  inherits = ["_common"]
  context  = "docker/nvidia"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/nvidia:${TAG}"]
}

target "movidius" {
  inherits = ["_common"]
  context  = "docker/movidius"
  contexts = { base = "target:bullseye", builder = "target:bullseye-builder" }
  tags     = ["drydock/movidius:${TAG}"]
}

target "rknn" {
  inherits = ["_common"]
  context  = "docker/rknn"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/rknn:${TAG}"]
}

target "rk3399pro" {
  inherits = ["_common"]
  context  = "docker/rk3399pro"
  contexts = { base = "target:base", builder = "target:builder", vendor = DRYDOCK_VENDOR }
  tags     = ["drydock/rk3399pro:${TAG}"]
}

target "annotate" {
  inherits = ["_common"]
  context  = "docker/annotate"
  contexts = { base = "target:bullseye", builder = "target:bullseye-builder" }
  tags     = ["drydock/annotate:${TAG}"]
}

target "render" {
  inherits = ["_common"]
  context  = "docker/render"
  contexts = { base = "target:base", builder = "target:builder" }
  tags     = ["drydock/render:${TAG}"]
}

# --- What is carried to devices. The detector comes on top: device/Dockerfile, `inv package`. ---

target "device-base-amd64" {
  inherits  = ["_common"]
  context   = "docker/device/base"
  contexts  = { builder = "target:builder" }
  platforms = ["linux/amd64"]
  tags      = ["drydock/device-base-amd64:${TAG}"]
}

target "device-base-arm64" {
  inherits  = ["_common"]
  context   = "docker/device/base"
  contexts  = { builder = "target:builder" }
  platforms = ["linux/arm64"]
  tags      = ["drydock/device-base-arm64:${TAG}"]
}

target "device-openvino-cpu" {
  inherits  = ["_common"]
  context   = "docker/device/openvino-cpu"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms = ["linux/amd64"]
  tags      = ["drydock/device/openvino-cpu:${TAG}"]
}

target "device-openvino-gpu" {
  inherits  = ["_common"]
  context   = "docker/device/openvino-gpu"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms = ["linux/amd64"]
  tags      = ["drydock/device/openvino-gpu:${TAG}"]
}

target "device-nvidia" {
  inherits  = ["_common"]
  context   = "docker/device/nvidia"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms = ["linux/amd64"]
  tags      = ["drydock/device/nvidia:${TAG}"]
}

target "device-arm64" {
  inherits  = ["_common"]
  context   = "docker/device/arm64"
  contexts = {
    base    = "target:device-base-arm64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms = ["linux/arm64"]
  tags      = ["drydock/device/arm64:${TAG}"]
}

target "device-rockchip" {
  inherits  = ["_common"]
  context   = "docker/device/rockchip"
  contexts  = { base = "target:device-base-arm64", builder = "target:builder" }
  platforms = ["linux/arm64"]
  tags      = ["drydock/device/rockchip:${TAG}"]
}

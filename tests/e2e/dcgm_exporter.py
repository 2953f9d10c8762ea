# SPDX-License-Identifier: Apache-2.0
"""A stand-in for NVIDIA's dcgm-exporter: its text format (internal/pkg/rendermetrics/render_metrics.go) with fields that its default
configuration has (etc/default-counters.csv)."""

import contextlib

from background_http import BackgroundServer, Handler

# Field: (help, value). DCGM_FI_PROF_DRAM_ACTIVE needs a GPU of Volta or later.
FIELDS = {
    "DCGM_FI_DEV_GPU_TEMP": ("GPU temperature (in C).", 61),
    "DCGM_FI_DEV_POWER_USAGE": ("Power draw (in W).", 412.7),
    "DCGM_FI_DEV_GPU_UTIL": ("GPU utilization (in %).", 97),
    "DCGM_FI_DEV_XID_ERRORS": ("Value of the last XID error encountered.", 31),
    "DCGM_FI_DEV_FB_USED": ("Framebuffer memory used (in MiB).", 71234),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("Ratio of cycles the device memory interface is active sending or receiving data.", 0.42),
}


def text(node, host_label):
    """`host_label`: Hostname up to version 4.5.3, then hostname."""
    labels = (f'gpu="0",UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",pci_bus_id="00000000:65:00.0",device="nvidia0",'
              f'modelName="NVIDIA H100 80GB HBM3",{host_label}="{node}",DCGM_FI_DRIVER_VERSION="550.90.07"')
    return "".join(f"# HELP {name} {meaning}\n# TYPE {name} gauge\n{name}{{{labels}}} {value}\n" for name, (meaning, value) in FIELDS.items())


@contextlib.contextmanager
def dcgm_exporter(node, host_label):
    """Its "host:port"."""
    answer = text(node, host_label).encode()

    class Answer(Handler):
        def do_GET(self):
            self.reply(200, answer, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    with BackgroundServer(Answer) as server:
        yield f"127.0.0.1:{server.port}"

# SPDX-License-Identifier: Apache-2.0
"""Starts the gateways of gateways/ and the edges of k8s/ with their configurations, in front of any number of servers."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import typing
import urllib.error
import urllib.request

ROOT = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
GATEWAYS, EDGE, NGINX_EDGE = ROOT / "gateways", ROOT / "k8s/overlays/edge", ROOT / "k8s/overlays/edge-nginx"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _replace_lines(text, pattern, lines):
    """The lines that match become others; there must be two, as in all the examples."""
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 2, f"{pattern}: {found}"
    first = text.index(found[0])
    text = "".join(re.split(pattern, text, flags=re.MULTILINE))
    return text[:first] + "".join(lines) + text[first:]


def _haproxy(folder, port, backends, backup):
    text = _replace_lines((GATEWAYS / "haproxy.cfg").read_text(), r"^    server replica\d.*\n",
                          [f'    server replica{i} "${{REPLICA_{i}}}"\n' for i in range(1, len(backends) + 1)])
    (folder / "haproxy.cfg").write_text(text)
    replicas = {f"REPLICA_{i}": f"127.0.0.1:{backend}" for i, backend in enumerate(backends, 1)}
    return ["-db", "-f", folder / "haproxy.cfg"], {**replicas, "LISTEN": f"127.0.0.1:{port}"}


def _edge(folder, port, backends, backup):
    """With addresses in place of the names that the cluster's DNS knows."""
    text = _replace_lines((EDGE / "haproxy.cfg").read_text(), r"^    server.* resolvers cluster init-addr none.*\n",
                          [f"    server replica{i} 127.0.0.1:{backend}\n" for i, backend in enumerate(backends, 1)] +
                          [f"    server elsewhere 127.0.0.1:{backup or free_port()} backup\n"])
    (folder / "edge.cfg").write_text(text)
    return ["-db", "-f", folder / "edge.cfg"], {"HADAL_LISTEN": f"127.0.0.1:{port}", "HADAL_EDGE": str(EDGE)}


def _edge_by_names(folder, port, backends, backup, dns_port):
    """As it is, with another name server."""
    text = (EDGE / "haproxy.cfg").read_text()
    assert text.count("parse-resolv-conf") == 1
    (folder / "edge.cfg").write_text(text.replace("parse-resolv-conf", f"nameserver test 127.0.0.1:{dns_port}"))
    names = {"HADAL_REPLICAS": backends, "HADAL_BACKUP": backup}
    return ["-db", "-f", folder / "edge.cfg"], {"HADAL_LISTEN": f"127.0.0.1:{port}", "HADAL_EDGE": str(EDGE), **names}


def _nginx_edge(folder, port, backends, backup):
    """With addresses in place of the names that the cluster's DNS knows, and without `resolve`, which Debian's nginx lacks."""
    text = (NGINX_EDGE / "nginx.conf").read_text()
    for pattern, replacement in (
            (r"^    resolver .*\n", ""),
            (r"server hadal-grpc\S+ resolve (max_fails=0;)", "\n".join(rf"server 127.0.0.1:{backend} \1" for backend in backends)),
            (r"server hadal-backup\S+ resolve;", f"server 127.0.0.1:{backup or free_port()};"),
            (r"listen 8080 ", f"listen 127.0.0.1:{port} "),
            (r"/tmp/", f"{folder}/")):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count >= 1, pattern
    (folder / "edge-nginx.conf").write_text(f"error_log {folder}/error.log;\n" + text)
    return ["-p", folder, "-c", folder / "edge-nginx.conf"], {}


def _nginx(folder, port, backends, backup):
    text = _replace_lines((GATEWAYS / "nginx.conf").read_text(), r"^        server 127\.0\.0\.1:.*\n",
                          [f"        server 127.0.0.1:{backend} max_fails=0;\n" for backend in backends])
    text, ports = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", text)
    assert ports == 1
    (folder / "nginx.conf").write_text(f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n" + text)
    return ["-p", folder, "-c", folder / "nginx.conf"], {}


def _litellm(folder, port, backends, backup):
    import yaml  # pylint: disable=import-outside-toplevel  # of all gateways only this one needs it
    config = yaml.safe_load((GATEWAYS / "litellm.yaml").read_text())
    assert [model["model_name"] for model in config["model_list"]] == ["hadal", "hadal", "hadal-1", "hadal-2"]
    parameters = config["model_list"][0]["litellm_params"]
    replicas = [{**parameters, "api_base": f"http://127.0.0.1:{backend}/v1"} for backend in backends]
    own_names = [f"hadal-{i}" for i in range(1, len(backends) + 1)]
    config["model_list"] = [{"model_name": name, "litellm_params": replica}
                            for names in (["hadal"] * len(backends), own_names) for name, replica in zip(names, replicas)]
    config["router_settings"]["fallbacks"] = [{"hadal": own_names}]
    (folder / "litellm.yaml").write_text(yaml.safe_dump(config))
    # Prices of models come from the network otherwise, and without a key it only starts when told that this is meant.
    return (["--config", folder / "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)],
            {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"})


def _add_models(folder, models):
    import yaml  # pylint: disable=import-outside-toplevel
    config = yaml.safe_load((folder / "litellm.yaml").read_text())
    config["model_list"] += models
    (folder / "litellm.yaml").write_text(yaml.safe_dump(config))


def _replace(path, replacements):
    text = path.read_text()
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def _add_tls(name, folder, port, tls):
    """What gateways/README.md says about TLS, on both sides."""
    if name == "haproxy":
        (folder / "gateway.pem").write_text(tls.certificate.read_text() + tls.key.read_text())
        _replace(folder / "haproxy.cfg", {'bind "${LISTEN-:8080}"': f'bind "${{LISTEN-:8080}}" ssl crt {folder}/gateway.pem',
                                          "default-server check": f"default-server ssl verify required ca-file {tls.authority} check"})
        return
    assert name == "nginx", f"{name} has no TLS in the tests"
    _replace(folder / "nginx.conf", {
        f"listen 127.0.0.1:{port};": f"listen 127.0.0.1:{port} ssl; ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};",
        "proxy_pass http://hadal;": f"proxy_pass https://hadal; proxy_ssl_verify on; proxy_ssl_trusted_certificate {tls.authority}; "
                                    "proxy_ssl_name localhost; proxy_ssl_server_name on;"})


class GatewayTls(typing.NamedTuple):
    """Files of the gateway's own certificate, and of the authority that signs it and the servers'; how clients check it."""
    certificate: pathlib.Path
    key: pathlib.Path
    authority: pathlib.Path
    context: ssl.SSLContext


_START = {"haproxy": _haproxy, "edge": _edge, "nginx": _nginx, "edge-nginx": _nginx_edge, "litellm": _litellm}


def binary(name):
    """Its path, or None where it is not installed. LiteLLM is a package of the tests' environment; HADAL_LITELLM names another command."""
    if name == "litellm":
        return os.environ.get("HADAL_LITELLM") or shutil.which(name, path=os.path.dirname(sys.executable))
    name = {"edge": "haproxy", "edge-nginx": "nginx"}.get(name, name)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


class GatewayProcess:
    """One of haproxy, nginx, litellm, edge or edge-nginx on a free port of this machine; leaving the block ends it. `backends` and `backup`,
    which only the edges have, are ports; `models`, which only litellm has, are further entries of its list. With `dns_port`, of a name
    server, `backends` and `backup` are NAME:PORT, for edge alone."""

    def __init__(self, name, folder, backends, backup=None, timeout=120, tls=None, models=(), dns_port=None):
        path = binary(name)
        assert path is not None, f"{name} is not installed"
        self.port = free_port()
        self.model = "hadal" if name == "litellm" else "hadal-demo"
        if dns_port is None:
            arguments, environment = _START[name](pathlib.Path(folder), self.port, backends, backup)
        else:
            assert name == "edge", f"{name} finds no servers by name in the tests"
            arguments, environment = _edge_by_names(pathlib.Path(folder), self.port, backends, backup, dns_port)
        if models:
            _add_models(pathlib.Path(folder), models)
        self.tls = tls
        if tls is not None:
            _add_tls(name, pathlib.Path(folder), self.port, tls)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.log = open(pathlib.Path(folder) / f"{name}.log", "w+", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([path, *arguments], stdout=self.log, stderr=subprocess.STDOUT, env={**clean, **environment})
        try:
            deadline = time.monotonic() + timeout
            while not self._answers():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    raise RuntimeError(f"{name} does not answer:\n{self.log.read()}")
                time.sleep(0.05)
        except BaseException:  # nobody else knows of it
            self.stop()
            raise

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _answers(self):
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            with urllib.request.urlopen(self.url + "/v1/models", timeout=5, context=self.tls and self.tls.context) as answer:
                return answer.status == 200 and b'"id"' in answer.read()
        return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

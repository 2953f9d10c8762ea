# SPDX-License-Identifier: Apache-2.0
"""Starts the gateways of gateways/ and the edges of k8s/ with their configurations, in front of any number of servers."""

import functools
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import time
import typing
import urllib.error
import urllib.request

from ports import free_port

ROOT = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
GATEWAYS, OVERLAYS, EDGE = ROOT / "gateways", ROOT / "k8s/overlays", ROOT / "k8s/overlays/edge"


# The first versions of nginx that know names in an upstream whose addresses change, and both kinds of HTTP on one port without TLS.
RESOLVE, HTTP2_BESIDE_HTTP1 = (1, 27, 3), (1, 25, 1)


class Ports(typing.NamedTuple):
    """Where the gateway listens; most have one port for both."""
    http: int
    grpc: int


def _replace_servers(text, pattern, lines, groups):
    """The lines that match become others, in each group of neighbours; there must be so many, of two lines each, as in all the examples."""
    found = re.findall(f"(?:{pattern}){{2}}", text, re.MULTILINE)
    assert len(found) == groups and 2 * groups == len(re.findall(pattern, text, re.MULTILINE)), f"{pattern}: {found}"
    return re.sub(f"(?:{pattern}){{2}}", lambda _: "".join(lines), text, flags=re.MULTILINE)


def _haproxy(folder, ports, backends, backup):
    text = _replace_servers((GATEWAYS / "haproxy.cfg").read_text(), r"^    server replica\d.*\n",
                            [f'    server replica{i} "${{REPLICA_{i}}}"\n' for i in range(1, len(backends) + 1)], groups=2)
    (folder / "haproxy.cfg").write_text(text)
    replicas = {f"REPLICA_{i}": f"127.0.0.1:{backend}" for i, backend in enumerate(backends, 1)}
    return ["-db", "-f", folder / "haproxy.cfg"], {**replicas, "LISTEN": f"127.0.0.1:{ports.http}"}


def _edge_environment(folder, ports, tls):
    """Of the container, with TLS that of edge-tls; the files that are mounted there lie in `folder`."""
    environment = {"HADAL_EDGE": str(EDGE), "HADAL_BREAKER_PORT": str(free_port())}
    if tls is not None:
        import yaml  # pylint: disable=import-outside-toplevel  # with TLS only
        patch = yaml.safe_load(yaml.safe_load((OVERLAYS / "edge-tls/kustomization.yaml").read_text())["patches"][0]["patch"])
        (container,) = patch["spec"]["template"]["spec"]["containers"]
        environment |= {variable["name"]: _mounted(variable["value"], folder) for variable in container["env"]}
        _write_secrets(folder, tls)
    return {**environment, "HADAL_LISTEN": f"127.0.0.1:{ports.http}"}


def _mounted(text, folder):
    return text.replace("/etc/hadal-edge", f"{folder}/etc-hadal-edge")


def _write_secrets(folder, tls):
    own, authority = folder / "etc-hadal-edge-tls", folder / "etc-hadal-edge-ca"
    for path in (own, authority):
        path.mkdir(exist_ok=True)
    shutil.copy(tls.certificate, own / "tls.crt")
    shutil.copy(tls.key, own / "tls.key")
    shutil.copy(tls.authority, authority / "ca.crt")


def _edge(folder, ports, backends, backup, dns_port=None, tls=None):
    """With addresses in place of the names that the cluster's DNS knows. With `dns_port` as it is, with another name server."""
    text = (EDGE / "haproxy.cfg").read_text()
    environment = _edge_environment(folder, ports, tls)
    if dns_port is None:
        backup = backup or free_port()
        text = _replace_servers(text, r"^    server.* resolvers cluster init-addr none.*\n",
                                [f"    server replica{i} 127.0.0.1:{backend}\n" for i, backend in enumerate(backends, 1)] +
                                [f"    server elsewhere 127.0.0.1:{backup} backup\n"], groups=2)
    else:
        assert text.count("parse-resolv-conf") == 1
        text = text.replace("parse-resolv-conf", f"nameserver test 127.0.0.1:{dns_port}")
        environment |= {"HADAL_REPLICAS": backends, "HADAL_BACKUP": backup}
    (folder / "edge.cfg").write_text(text)
    return ["-db", "-f", folder / "edge.cfg"], environment


def _nginx_edge(folder, ports, backends, backup, dns_port=None, tls=None):
    """With addresses in place of the names that the cluster's DNS knows, and without `resolve`, which Debian's nginx lacks. With `dns_port`
    as it is, with another name server."""
    if dns_port is None:
        resolver = ""
        servers = "\n".join(rf"server 127.0.0.1:{backend} max_fails=0;" for backend in backends)
        backup = backup or free_port()
        elsewhere = rf"server 127.0.0.1:{backup}\1;"
    else:
        resolver = f"    resolver 127.0.0.1:{dns_port} valid=2s;\n"
        servers, elsewhere = f"server {backends} resolve max_fails=0;", rf"server {backup} resolve\1;"
    text = (OVERLAYS / "edge-nginx/nginx.conf").read_text()
    for pattern, replacement in (
            (r"^    resolver .* valid=2s;\n", resolver),
            (r"server hadal-grpc\S+ resolve max_fails=0;", servers),
            (r"server hadal-backup\S+ resolve(| max_fails=0 backup);", elsewhere),
            (r"/tmp/", f"{folder}/")):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count >= 1, pattern
    listen = (OVERLAYS / ("edge-nginx-tls" if tls else "edge-nginx") / "listen.conf").read_text()
    listen, count = re.subn(r"listen 8(080|443) ", f"listen 127.0.0.1:{ports.http} ", listen)
    assert count == 1 and text.count("http2 on;") == 1
    if nginx_version() < HTTP2_BESIDE_HTTP1:
        text = text.replace("http2 on;", "")
        listen = listen.replace(" ssl ", " ssl http2 ") if tls else listen + f"listen 127.0.0.1:{ports.grpc} http2;\n"
    if tls is not None:
        _write_secrets(folder, tls)
    (folder / "etc-hadal-edge").mkdir(exist_ok=True)
    (folder / "etc-hadal-edge/listen.conf").write_text(_mounted(listen, folder))
    (folder / "edge-nginx.conf").write_text(f"error_log {folder}/error.log;\n" + _mounted(text, folder))
    return ["-p", folder, "-c", folder / "edge-nginx.conf"], {}


def _nginx(folder, ports, backends, backup):
    text = _replace_servers((GATEWAYS / "nginx.conf").read_text(), r"^        server 127\.0\.0\.1:.*\n",
                            [f"        server 127.0.0.1:{backend} max_fails=0;\n" for backend in backends], groups=2)
    for old, new in (("listen 8080;", f"listen 127.0.0.1:{ports.http};"), ("listen 8081 http2;", f"listen 127.0.0.1:{ports.grpc} http2;")):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n" + text)
    return ["-p", folder, "-c", folder / "nginx.conf"], {}


def _nginx_dns(folder, ports, backends, backup, dns_port=None, tls=None):
    """`backends` and `backup` are NAME:PORT, which the name server at that port knows."""
    assert dns_port is not None and tls is None, "it is for names, and has no TLS in the tests"
    text = (GATEWAYS / "nginx-dns.conf").read_text()
    for old, new in (("listen 8080;", f"listen 127.0.0.1:{ports.http};"), ("listen 8081 http2;", f"listen 127.0.0.1:{ports.grpc} http2;"),
                     ("resolver 10.96.0.10 ", f"resolver 127.0.0.1:{dns_port} "), ("hadal-grpc.hadal.svc.cluster.local:8000", backends),
                     ("hadal-backup.hadal.svc.cluster.local:8000", backup)):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "nginx-dns.conf").write_text(f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n" + text)
    return ["-p", folder, "-c", folder / "nginx-dns.conf"], {}


def _litellm(folder, ports, backends, backup):
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
    return (["--config", folder / "litellm.yaml", "--host", "127.0.0.1", "--port", str(ports.http)],
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
        checked = f"ssl verify required ca-file {tls.authority}"
        _replace(folder / "haproxy.cfg", {
            'bind "${LISTEN-:8080}"': f'bind "${{LISTEN-:8080}}" ssl crt {folder}/gateway.pem alpn h2,http/1.1',
            "default-server check": f"default-server {checked} check",
            "default-server proto h2 check": f"default-server {checked} alpn h2 proto h2 check check-alpn http/1.1"})
        return
    assert name == "nginx", f"{name} has no TLS in the tests"
    to_server = "{0}_ssl_verify on; {0}_ssl_trusted_certificate " + str(tls.authority) + "; {0}_ssl_name localhost; {0}_ssl_server_name on;"
    _replace(folder / "nginx.conf", {
        f"listen 127.0.0.1:{port};": f"listen 127.0.0.1:{port} ssl http2; ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};",
        f"listen 127.0.0.1:{port} http2;": "",
        "proxy_pass http://hadal;": "proxy_pass https://hadal; " + to_server.format("proxy"),
        "grpc_pass grpc://hadal_grpc;": "grpc_pass grpcs://hadal_grpc; " + to_server.format("grpc")})


class GatewayTls(typing.NamedTuple):
    """Files of the gateway's own certificate, and of the authority that signs it and the servers'; how clients check it."""
    certificate: pathlib.Path
    key: pathlib.Path
    authority: pathlib.Path
    context: ssl.SSLContext


_START = {"haproxy": _haproxy, "edge": _edge, "nginx": _nginx, "edge-nginx": _nginx_edge, "nginx-dns": _nginx_dns, "litellm": _litellm}


def binary(name):
    """Its path, or None where it is not installed. LiteLLM is a package of the tests' environment; HADAL_LITELLM names another command, and
    HADAL_NGINX a newer nginx than Debian's for edge-nginx."""
    if name == "litellm":
        return os.environ.get("HADAL_LITELLM") or shutil.which(name, path=os.path.dirname(sys.executable))
    if name == "edge-nginx" and "HADAL_NGINX" in os.environ:
        return os.environ["HADAL_NGINX"]
    name = {"edge": "haproxy", "edge-nginx": "nginx", "nginx-dns": "nginx"}.get(name, name)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


@functools.lru_cache(maxsize=None)
def nginx_version():
    """Of edge-nginx's binary: (1, 22, 1)."""
    shown = subprocess.run([binary("edge-nginx"), "-v"], capture_output=True, text=True, check=True, timeout=60).stderr
    return tuple(map(int, re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", shown).groups()))


class GatewayProcess:
    """One of haproxy, nginx, nginx-dns, litellm, edge or edge-nginx on a free port of this machine; leaving the block ends it. `backends` and `backup`,
    which only the edges have, are ports; `models`, which only litellm has, are further entries of its list. With `dns_port`, of a name
    server, `backends` and `backup` are NAME:PORT, for the edges alone. It is there when a list of models gets the status `answers`.
    `edits`: {text: other text}, of edge's configuration."""

    def __init__(self, name, folder, backends, backup=None, timeout=120, tls=None, models=(), dns_port=None, answers=200, edits=None):
        path = binary(name)
        assert path is not None, f"{name} is not installed"
        two_ports = tls is None and (name in ("nginx", "nginx-dns") or name == "edge-nginx" and nginx_version() < HTTP2_BESIDE_HTTP1)
        self.port = free_port()
        self.grpc_port = free_port() if two_ports else self.port
        ports = Ports(self.port, self.grpc_port)
        self.model = "hadal" if name == "litellm" else "hadal-demo"
        own = {"dns_port": dns_port, "tls": tls} if name.startswith("edge") or name == "nginx-dns" else {}
        assert own or dns_port is None, f"{name} finds no servers by name in the tests"
        arguments, environment = _START[name](pathlib.Path(folder), ports, backends, backup, **own)
        for old, new in (edits or {}).items():
            text = (pathlib.Path(folder) / "edge.cfg").read_text()
            assert old in text, old
            (pathlib.Path(folder) / "edge.cfg").write_text(text.replace(old, new))
        if models:
            _add_models(pathlib.Path(folder), models)
        self.tls, self.answers = tls, answers
        if tls is not None and not own:
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

    def log_text(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def _answers(self):
        try:
            with urllib.request.urlopen(self.url + "/v1/models", timeout=5, context=self.tls and self.tls.context) as answer:
                return answer.status == self.answers and b'"id"' in answer.read()
        except urllib.error.HTTPError as error:
            return error.code == self.answers
        except OSError:
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

# SPDX-License-Identifier: Apache-2.0
"""Authorities and certificates for tests, made by the openssl command."""
import pathlib
import ssl
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """Signs certificates for localhost and 127.0.0.1, and for names that are asked for."""

    def __init__(self, folder, name="authority"):
        self.folder = pathlib.Path(folder)
        self.certificate = self.folder / f"{name}.pem"
        self._key = self.folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 insists on it
                "-keyout", self._key, "-out", self.certificate)

    def sign(self, name, certificate=None, key=None, names=()):
        """(certificate, key): files, NAME.pem and NAME.key unless others are given."""
        certificate, key = certificate or self.folder / f"{name}.pem", key or self.folder / f"{name}.key"
        openssl("req", "-x509", "-CA", self.certificate, "-CAkey", self._key, "-newkey", "ec",
                "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 20, "-subj", f"/CN={name}",
                "-addext", ",".join(["subjectAltName=DNS:localhost,IP:127.0.0.1", *(f"DNS:{n}" for n in names)]), "-addext", "basicConstraints=critical,CA:FALSE",
                "-keyout", key, "-out", certificate)
        return certificate, key

    def context(self, client=None):
        """What a client checks the server with; `client`: (certificate, key) of its own."""
        context = ssl.create_default_context(cafile=self.certificate)
        if client:
            context.load_cert_chain(*client)
        return context

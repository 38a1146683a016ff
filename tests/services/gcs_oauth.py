"""Who may do what in the Google Cloud that gcs_server.py plays: service accounts whose signed assertions are verified,
refresh tokens, workload-identity federation, the metadata server, and access tokens that run out.
"""

import base64
import datetime
import hashlib
import json
import re
import secrets
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl

from gcs_state import ApiError

SCOPES = {"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_write",
          "https://www.googleapis.com/auth/devstorage.full_control"}
# The prefix of every RSASSA-PKCS1-v1_5 signature over SHA-256 (RFC 8017, 9.2).
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
SUBJECT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
# What the documentation tells to grant, and no more: that it is enough is shown by every test that passes.
WRITER = {"storage.objects.create", "storage.objects.get", "storage.objects.list", "storage.objects.delete",
          "storage.buckets.get"}
RETAINER = WRITER | {"storage.objects.update", "storage.objects.setRetention", "storage.objects.overrideUnlockedRetention"}


class OAuthError(Exception):
    def __init__(self, error, description, status=400):
        super().__init__(description)
        self.status, self.body = status, {"error": error, "error_description": description}


def unbase64url(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise OAuthError("invalid_grant", "Invalid JWT: not base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class ServiceAccount:
    def __init__(self, email, folder, permissions):
        self.email, self.permissions = email, permissions
        self.key_id = secrets.token_hex(20)
        key = Path(folder) / f"{email.split('@')[0]}.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key)],
                       check=True, timeout=60, stderr=subprocess.DEVNULL)
        shown = subprocess.run(["openssl", "rsa", "-in", str(key), "-noout", "-modulus"], check=True, timeout=60,
                               capture_output=True, text=True).stdout
        self.modulus = int(shown.strip().removeprefix("Modulus="), 16)
        self.private_key = key.read_text()

    def signed(self, message, signature):
        size = (self.modulus.bit_length() + 7) // 8
        if len(signature) != size:
            return False
        shown = pow(int.from_bytes(signature, "big"), 65537, self.modulus).to_bytes(size, "big")
        digest = SHA256_INFO + hashlib.sha256(message).digest()
        return shown == b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest

    def file(self, token_uri):
        return {"type": "service_account", "project_id": "varve-test", "private_key_id": self.key_id,
                "private_key": self.private_key, "client_email": self.email, "client_id": "1", "token_uri": token_uri}


class Identities:
    """Thread-safe."""

    def __init__(self, folder, base):
        self.base = base  # "http://127.0.0.1:port"
        self.lifetime = 3600
        self.lock = threading.Lock()
        self.tokens = {}  # text -> (principal, permissions, when it runs out)
        self.issued = 0
        accounts = [ServiceAccount("writer@varve-test.iam.gserviceaccount.com", folder, WRITER),
                    ServiceAccount("retainer@varve-test.iam.gserviceaccount.com", folder, RETAINER),
                    ServiceAccount("nobody@varve-test.iam.gserviceaccount.com", folder, set())]
        self.accounts = {a.email: a for a in accounts}
        self.refresh_token, self.client_secret = secrets.token_urlsafe(30), secrets.token_urlsafe(20)
        self.subject_token = secrets.token_urlsafe(50)
        self.paths = {("POST", "/token"): self.oauth, ("POST", "/v1/token"): self.exchange,
                      ("GET", "/computeMetadata/v1/instance/service-accounts/default/token"): self.metadata,
                      ("GET", "/subject"): self.subject}
        for account in accounts:
            path = f"/v1/projects/-/serviceAccounts/{account.email}:generateAccessToken"
            self.paths["POST", path] = lambda h, b, a=account: self.impersonate(h, b, a)

    def issue(self, principal, permissions):
        token = "ya29." + secrets.token_urlsafe(100)
        with self.lock:
            self.tokens[token] = (principal, permissions, time.time() + self.lifetime)
            self.issued += 1
        return token

    def expire_all(self):
        with self.lock:
            self.tokens = {t: (p, r, 0) for t, (p, r, _) in self.tokens.items()}

    def check(self, header, permission=None):
        """The principal behind an Authorization header; 401 or 403 otherwise."""
        if header is None:
            raise ApiError(401, "required", "Login Required", {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'})
        with self.lock:
            principal, permissions, until = self.tokens.get(header.removeprefix("Bearer "), (None, set(), 0))
        if not header.startswith("Bearer ") or until <= time.time():
            raise ApiError(401, "authError", "Invalid Credentials",
                           {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'})
        if permission and permission not in permissions:
            raise ApiError(403, "forbidden", f"{principal} does not have {permission} access to the Google Cloud Storage object.")
        return principal

    def answer(self, method, path, headers, body):
        """(status, headers, JSON) for a path that is served here, else None."""
        serve = self.paths.get((method, path))
        if serve is None:
            return None
        try:
            return serve(headers, body)
        except OAuthError as error:
            return error.status, {}, error.body

    def token_answer(self, principal, permissions, **more):
        return 200, {}, {"access_token": self.issue(principal, permissions), "expires_in": int(self.lifetime),
                         "token_type": "Bearer", **more}

    @staticmethod
    def form(headers, body):
        if headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise OAuthError("invalid_request", "Content-Type must be application/x-www-form-urlencoded")
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        if len({k for k, _ in pairs}) != len(pairs):
            raise OAuthError("invalid_request", "A parameter comes twice")
        return dict(pairs)

    @staticmethod
    def check_scope(text):
        if not text or not set(text.split(" ")) <= SCOPES:
            raise OAuthError("invalid_scope", "Invalid OAuth scope")

    def oauth(self, headers, body):
        form = self.form(headers, body)
        grant = form.pop("grant_type", "")
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer" and set(form) == {"assertion"}:
            account = self.check_assertion(form["assertion"])
            return self.token_answer(account.email, account.permissions)
        if grant == "refresh_token" and set(form) == {"client_id", "client_secret", "refresh_token"}:
            if form["client_secret"] != self.client_secret or form["client_id"] != "varve-client":
                raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
            if form["refresh_token"] != self.refresh_token:
                raise OAuthError("invalid_grant", "Token has been expired or revoked.")
            return self.token_answer("person@example.com", WRITER)
        raise OAuthError("unsupported_grant_type", "Invalid grant_type or parameters")

    def check_assertion(self, assertion):
        parts = assertion.split(".")
        if len(parts) != 3:
            raise OAuthError("invalid_grant", "Invalid JWT")
        header, claims = (json.loads(unbase64url(p)) for p in parts[:2])
        account = self.accounts.get(claims.get("iss"))
        if header.get("alg") != "RS256" or header.get("typ") != "JWT" or set(header) != {"alg", "typ", "kid"}:
            raise OAuthError("invalid_grant", "Invalid JWT header")
        if account is None or header["kid"] != account.key_id:
            raise OAuthError("invalid_grant", "Invalid grant: account not found")
        if not account.signed(f"{parts[0]}.{parts[1]}".encode(), unbase64url(parts[2])):
            raise OAuthError("invalid_grant", "Invalid JWT Signature.")
        at = time.time()
        if claims.get("aud") != f"{self.base}/token":
            raise OAuthError("invalid_grant", "Invalid JWT: the audience is another")
        if not (isinstance(claims.get("iat"), int) and isinstance(claims.get("exp"), int)
                and claims["iat"] <= at + 30 and at < claims["exp"] <= claims["iat"] + 3600):
            raise OAuthError("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
                             "reasonable timeframe.")
        self.check_scope(claims.get("scope"))
        return account

    def exchange(self, headers, body):
        form = self.form(headers, body)
        expected = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type": SUBJECT_TYPE,
                    "requested_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        for key, value in expected.items():
            if form.pop(key, None) != value:
                raise OAuthError("invalid_request", f"Invalid value for {key}")
        if set(form) != {"audience", "scope", "subject_token"} or not form["audience"].startswith(AUDIENCE):
            raise OAuthError("invalid_target", "The target service indicated by the audience is invalid")
        self.check_scope(form["scope"])
        if form["subject_token"] != self.subject_token:
            raise OAuthError("invalid_grant", "The given credential is rejected by the attribute condition.")
        # A pool that was granted the bucket itself, and one that may only act as a service account.
        permissions = WRITER if form["audience"] == AUDIENCE + "-direct" else {"iam.serviceAccounts.getAccessToken"}
        return self.token_answer("principal://pool/subject/1", permissions,
                                 issued_token_type="urn:ietf:params:oauth:token-type:access_token")

    def impersonate(self, headers, body, account):
        try:
            self.check(headers.get("Authorization"), "iam.serviceAccounts.getAccessToken")
        except ApiError as error:
            return error.status, error.headers, error.body()
        asked = json.loads(body)
        if not headers.get("Content-Type", "").startswith("application/json") or not set(asked) <= {"scope", "lifetime"}:
            raise OAuthError("invalid_request", "Invalid JSON payload")
        self.check_scope(" ".join(asked["scope"]))
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.lifetime)
        return 200, {}, {"accessToken": self.issue(account.email, account.permissions),
                         "expireTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def metadata(self, headers, _body):
        if headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in headers:
            return 403, {"Metadata-Flavor": "Google"}, {"error": "Missing Metadata-Flavor:Google header."}
        status, _, token = self.token_answer("default@varve-test.iam.gserviceaccount.com", WRITER)
        return status, {"Metadata-Flavor": "Google"}, token

    def subject(self, headers, _body):
        """Where a workload's own identity provider hands out tokens."""
        if headers.get("X-Workload") != "varve":
            return 403, {}, {"error": "no such workload"}
        return 200, {}, {"value": self.subject_token}

    def write_files(self, folder):
        """Credential files of each kind, as Google's tools write them: name -> path."""
        federated = {"type": "external_account", "audience": AUDIENCE, "subject_token_type": SUBJECT_TYPE,
                     "token_url": f"{self.base}/v1/token",
                     "service_account_impersonation_url": f"{self.base}/v1/projects/-/serviceAccounts/"
                     "writer@varve-test.iam.gserviceaccount.com:generateAccessToken"}
        subject = Path(folder) / "subject.jwt"
        subject.write_text(self.subject_token)
        from_url = {"url": f"{self.base}/subject", "headers": {"X-Workload": "varve"},
                    "format": {"type": "json", "subject_token_field_name": "value"}}
        person = {"type": "authorized_user", "client_id": "varve-client", "client_secret": self.client_secret,
                  "refresh_token": self.refresh_token, "token_uri": f"{self.base}/token"}
        direct = {k: v for k, v in federated.items() if k != "service_account_impersonation_url"}
        files = {a.email.split("@")[0]: a.file(f"{self.base}/token") for a in self.accounts.values()}
        files |= {"person": person, "federated": federated | {"credential_source": {"file": str(subject)}},
                  "federated_url": direct | {"audience": AUDIENCE + "-direct", "credential_source": from_url}}
        for name, content in files.items():
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps(content, indent=2))
            path.chmod(0o600)
            files[name] = str(path)
        return files

"""OpenID Connect: allauth's code flow with PKCE, whose id token is checked by its signature."""

from typing import Any

from allauth.account.internal.decorators import login_not_required
from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from requests import RequestException

UNREACHABLE = "The provider could not be reached, or answers wrongly. Try again, or log in by name."


class SignedIdToken(OpenIDConnectOAuth2Adapter):
    """Trusts what the provider signed, and not only that it came from its address."""

    def _decode_id_token(self, app: Any, id_token: str) -> dict[str, Any]:
        config = self.openid_config
        if config.get("issuer", "").rstrip("/") != app.settings["server_url"]:
            raise OAuth2Error("The provider names another issuer than OIDC_ISSUER.")
        decoded: dict[str, Any] = jwtkit.verify_and_decode(
            credential=id_token,
            keys_url=config["jwks_uri"],
            issuer=config["issuer"],
            audience=app.client_id,
            lookup_kid=jwtkit.lookup_kid_jwk,
        )
        return decoded

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **more: Any) -> Any:
        if not more["response"].get("id_token"):
            raise OAuth2Error("The provider gave no id token.")
        return super().complete_login(request, app, token, **more)


@login_not_required  # type: ignore[untyped-decorator]
def login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """To the provider. 404 where none is set."""
    return run(OAuth2LoginView, request, provider_id)


@login_not_required  # type: ignore[untyped-decorator]
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from the provider."""
    return run(OAuth2CallbackView, request, provider_id)


def run(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    if not settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]:
        raise Http404("OIDC_ISSUER is not set.")
    try:
        answer: HttpResponseBase = view.adapter_view(SignedIdToken(request, provider_id))(request)
    except (RequestException, ValueError, KeyError):
        messages.error(request, UNREACHABLE)
        return redirect("admin:login")
    return answer

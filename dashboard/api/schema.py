"""The API's description: the schema, how to log in, and the documentation page, which works offline."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "dashboard.api.tokens.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token mrr_…`, made by `manage.py create_api_token USERNAME`.",
        }


schema = SpectacularAPIView.as_view()
# The library's own template holds an inline style, which our content security policy refuses.
documentation = login_required(
    SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="dashboard/api_docs.html")
)

"""The requirement sets of `differential.py`: a name, the kind, and the files; `requirements.in` is what is asked for.

`{local}` is a loopback server with an index (`/simple/`), a folder of files (`/files/`) and a page of links (`/links.html`).
Wheels alone are candidates unless a set says `builds`. `refused` sets have no solution, of `lock_only` ones no environment is made,
for the reason that stands there.
"""


def asked(name, kind, text, **more):
    return {"name": name, "kind": kind, "files": {"requirements.in": text, **more.pop("files", {})}, **more}


SETS = [
    asked("flask", "web", "flask\n"),
    asked("django", "web", "django>=4.2,<5\ndjangorestframework\n"),
    asked("fastapi", "web", "fastapi\nuvicorn\n"),
    asked("aiohttp", "web", "aiohttp\n"),
    asked("httpx", "web", "starlette\nhttpx[http2]\n"),
    asked("pandas", "data", "pandas\n"),
    asked("sqlalchemy", "data", "sqlalchemy[asyncio]\nalembic\n"),
    asked("tables", "data", "openpyxl\nxlsxwriter\ntabulate\n"),
    asked("scikit-learn", "ML without GPU", "scikit-learn\n"),
    asked("tokenizers", "ML without GPU", "tokenizers\nsafetensors\n"),
    asked("old-requests", "old pins", "requests==2.19.1\n"),
    asked("old-flask", "old pins", "flask==1.1.4\njinja2<3\nwerkzeug<2\n"),
    asked("frozen", "old pins", "attrs==19.3.0\nclick==7.1.2\nidna==2.10\nsix==1.15.0\ntoml==0.10.2\npytz==2020.1\n"),
    asked("old-celery", "old pins", "celery==5.2.7\nkombu>=5.2,<5.3\n"),
    asked("socks", "extras", "requests[socks]\n"),
    asked("celery-extras", "extras", "celery[redis,msgpack]\n"),
    asked("coverage", "extras", "coverage[toml]\npytest-cov\n"),
    asked("no-such-extra", "extras", "idna[nothing]\n"),
    asked(
        "markers",
        "markers",
        "importlib-metadata ; python_version < '3.8'\ncolorama; sys_platform == 'win32'\nidna ; python_version >= '3.6'\n"
        "six==1.16.0 ; python_version < '3'\nsix==1.15.0 ; python_version >= '3'\n",
    ),
    asked("rich-markers", "markers", "ipython\nrich ; platform_system == 'Linux'\n"),
    asked("conflict", "conflicts", "flask==3.0.0\nwerkzeug<3\n", refused=True),
    asked("deep-conflict", "conflicts", "boto3==1.34.0\nbotocore==1.33.0\n", refused=True),
    asked("pre", "prereleases", "--pre\nsqlalchemy\n"),
    asked("pinned-pre", "prereleases", "black==24.1a1\n"),
    asked("only-pre", "prereleases", "opentelemetry-semantic-conventions\n"),
    asked("second-index", "several indexes", "--extra-index-url {local}/simple/\nlocal-only\nidna\n"),
    asked("both-indexes", "several indexes", "--extra-index-url {local}/simple/\nsix\n"),
    asked(
        "links",
        "several indexes",
        "--find-links {local}/links.html\nlinked-only\n",
        lock_only="uv gives no hashes of what only a page of links has, so that install refuses it (docs/shortcomings.md)",
    ),
    asked(
        "constraints", "constraints", "-c limits.txt\nrequests\n", files={"limits.txt": "urllib3<2\nidna!=3.10\nnever-there==1\n"}
    ),
    asked(
        "nested",
        "constraints",
        "-r web/base.txt\n-c limits.txt\njinja2\n",
        files={"web/base.txt": "-c more.txt\nflask\n", "web/more.txt": "click<8.2\n", "limits.txt": "werkzeug<3.1\n"},
    ),
    asked("url", "URLs", "direct-only @ {local}/files/direct_only-1.0-py3-none-any.whl\nidna\n"),
    asked("bare-url", "URLs", "{local}/files/direct_only-1.0-py3-none-any.whl\n"),
    asked("sdist", "builds", "docopt==0.6.2\n", builds=True),
    asked("scripts", "scripts and data files", "docutils\njmespath\npygments\n"),
    asked("namespaces", "namespace packages", "zope.interface\nzope.event\nruamel.yaml\n"),
    asked("tools", "tools", "tox\nmypy-extensions\nsphinx\n"),
]

"""The host's side of modules: specifiers in, whole static graphs out.

    specifiers    what an import statement can name
    manifests     package.json: exports, imports, conditions, main files
    versions      ranges, tags, and which version is taken
    npmrc         registries, scopes and tokens from .npmrc files
    registry      packages' metadata and tarballs over HTTP
    tarballs      what a tarball may hold
    lexing        what modules import and export, by lexers in V8
    packs         a package's code as one file, with what was found in it
    packer        a confined process that makes packs, and compiles modules
    cache         packs and metadata in a folder that all processes share
    lock          which versions a context has
    resolver      from a specifier to a URL, as Node.js resolves
    progress      how far downloads have come, and who is told
    graphs        the modules that one import loads
    answers       what a context gets of them: JSON, texts and code
    kept          graphs that were built before, for contexts that begin alike
    service       all of it, for those who hold contexts

Nothing of a package is run here, and what reads its files is confined.
"""

#!/usr/bin/env bash
# Packs what runs in Pods as image archives: bin/weft.tar (weft:dev), bin/echo.tar (weft-examples/echo:dev), bin/bookshop.tar (weft-examples/bookshop:dev).
source "$(dirname "$0")/lib.sh"

bin/weft-lab build-image --tag weft:dev --output bin/weft.tar /weft=bin/weft /weft-proxy=bin/weft-proxy
bin/weft-lab build-image --tag weft-examples/echo:dev --output bin/echo.tar /echo=bin/echo
bin/weft-lab build-image --tag weft-examples/bookshop:dev --output bin/bookshop.tar /bookshop=bin/bookshop

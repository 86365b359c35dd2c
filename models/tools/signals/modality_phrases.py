"""Requests for text, for an image, and for both; patterns written for this project."""

THINGS = "{a cat|a sunset over the sea|a dragon|a mountain lake|a red sports car|a futuristic city|an old castle|a robot reading a book|two astronauts|a bowl of fruit|a logo for a bakery|my dog as a knight|a girl with an umbrella|a winter forest|a steampunk airship|a tiny house}"

IMAGE = [
    "{Draw|Paint|Sketch|Illustrate|Render|Visualize} {me |}" + THINGS + "{.|, please.| in watercolor.| in the style of Monet.|, photorealistic, 4k.|}",
    "{Generate|Create|Make|Produce|Design} {me |}{an image|a picture|an illustration|a photo|a drawing|a painting|a portrait|artwork|a poster|a wallpaper} {of|with|showing} " + THINGS + "{.|, please.| in anime style.|, digital art.|}",
    "{Can|Could} you {draw|paint|create a picture of|make an image of|generate a photo of|sketch} " + THINGS + "{?| for me?}",
    "{I want|I need|I'd like|Give me} {an image|a picture|a photo|an icon|an illustration|a logo} of " + THINGS + "{.|}",
    THINGS + ", {photorealistic|oil painting|watercolor|pixel art|concept art|cinematic lighting|studio photo|8k, highly detailed|line art}{, {soft light|wide angle|bokeh|trending on artstation|high contrast}|}",
    "{Design|Create} {a|an} {logo|icon|banner|book cover|album cover|tattoo|character} {for|of|with} {my bakery|a game|a rock band|a lion|a tech startup}{.|}",
    "{Dibuja|Pinta|Genera una imagen de|Crea una ilustración de} {un gato|un castillo|una ciudad futurista|un dragón|un paisaje de montaña}{.|}", "{Dessine|Peins|Génère une image d'|Crée une illustration d'}{un chat|un château|une ville futuriste|un dragon}{.|}", "{Zeichne|Male|Erstelle ein Bild von|Generiere ein Foto von} {einer Katze|einem Schloss|einer futuristischen Stadt|einem Drachen}{.|}", "{画|生成|绘制|帮我画}{一张|一幅|}{猫的图片|山水画|城堡的插图|未来城市的图像|日落的照片}{。|}", "{猫|城|未来都市|ドラゴン}の{絵を描いて|画像を生成して|イラストを作って}{ください。|。}", "{Нарисуй|Сгенерируй изображение|Создай картинку|Создай иллюстрацию}{: | }{кот|замок|город будущего|дракон}{.|}", "{ارسم|أنشئ صورة|ولد صورة} {قطة|قلعة|مدينة مستقبلية|تنين}{.|}", "{고양이|성|용}{을|를} {그려 줘|그림으로 만들어 줘}.", "{Desenhe|Crie uma imagem de|Gere uma foto de} {um gato|um castelo|um dragão}{.|}",
]

IMAGE += [
    "{A|An} {photo|image|picture|drawing|painting|illustration|sketch|render} of " + THINGS + "{.|, please.| at night.| in black and white.|}",
    "{Show|Send|Get} me {a|an} {picture|image|photo|drawing|painting} of " + THINGS + "{.|}",
    "{Turn|Convert|Make} {this|my} {idea|description|text|sketch} into {an image|a picture|artwork|a painting|a photo}{.|: }" + THINGS,
    "{Use|With} {DALL-E|Stable Diffusion|Midjourney|the image model}{,| to} {make|create|generate} " + THINGS + "{.|}",
    "{Image|Picture|Photo} {prompt|request}: " + THINGS + "{, {4k|oil on canvas|minimalist|vintage}|}",
    "{Please |}{visualise|depict|portray} " + THINGS + " {as a cartoon|as an oil painting|in a photo|as pixel art|visually}{.|}",
]

BOTH = [
    "{Explain|Describe|Tell me about} {photosynthesis|the water cycle|how a car engine works|the solar system|the human heart|plate tectonics} {and|then} {draw|illustrate it with a picture|include an image|create a diagram image of it|generate a picture of it|show me an illustration}{.|}",
    "{Write|Create|Compose} {a|an} {story|poem|blog post|article|recipe|children's book page|fairy tale} {about|on} {a dragon|the sea|autumn|a lost robot|pancakes} {with|and add|and generate|together with|along with} {an illustration|a picture|matching images|a cover image|pictures}{.|}",
    "{Give me|Provide|I need} {both |}{text and images|an explanation and a picture|a description and an illustration|a summary with images|an article with pictures} {of|about|on} {volcanoes|the Eiffel Tower|a healthy breakfast|black holes}{.|}",
    "{Explain and illustrate|Describe and draw|Describe with an image|Tell and show with pictures} {how bees make honey|a cell|the pyramids|the phases of the moon|a steam engine}{.|}",
    "{Make|Create|Write} an illustrated {guide|tutorial|story|recipe|lesson} {about|on|for} {origami|planting tomatoes|the planets|first aid|sushi}{.|}",
    "{Explica|Describe} {la fotosíntesis|el sistema solar} {y dibújalo|con una imagen|y genera una ilustración}.", "{Explique|Décris} {la photosynthèse|le système solaire} {et dessine-le|avec une image|et génère une illustration}.", "{Erkläre|Beschreibe} {die Photosynthese|das Sonnensystem} {und zeichne es|mit einem Bild|und erstelle eine Illustration}.", "{解释|介绍|描述}{光合作用|太阳系|水循环}{并配图|并画一张图|，同时生成一张图片|，图文并茂}。", "{光合成|太陽系}を{説明して、絵も描いて|図と一緒に説明して|画像付きで説明して}ください。", "{Объясни|Опиши} {фотосинтез|солнечную систему} и {нарисуй|добавь картинку|создай иллюстрацию}.", "{اشرح|صف} {التمثيل الضوئي|النظام الشمسي} {مع صورة|وارسمه}.",
]

BOTH += [
    "{Explain|Teach me|Describe} {how volcanoes erupt|the nervous system|the history of Rome|how to bake bread} {with pictures|with illustrations|and show images|and add drawings|using both text and images}{.|}",
    "{Write|Draft} {a travel guide|a comic script|a picture book|a product page|an infographic text} {and|then} {generate|create|draw|make} {the images|pictures for it|an illustration for each part|matching artwork}{.|}",
    "{I need|I want|Create} {a text|an explanation|a story|a lesson} {plus|together with|accompanied by|as well as} {an image|a drawing|pictures|a generated photo}{.| about birds.| on gravity.}",
    "{Summarize|Outline} {the water cycle|the plot|the recipe} {and visualise it|and make a picture of it|with a generated image|and illustrate it}{.|}",
]

TEXT_NEAR = [
    "{Describe|Explain|What is in|Caption|Summarize} {this|the attached|the} {image|picture|photo|diagram|chart}{.|?|}",
    "{How do I|How can I} {resize|crop|compress|upload|embed|display|edit} {an image|a picture|photos|a PNG} {in Python|in HTML|with CSS|in Photoshop|on my phone|in LaTeX}?",
    "{Write|Create} {a|an} {story|poem|essay|email} about {a painter|a photograph|an art museum|drawing lessons|a picture frame}{.|}",
    "{Who|When|Where} {painted|drew|photographed} {the Mona Lisa|Guernica|The Starry Night|the album cover}?",
    "{Draw|Come to} {a conclusion from|up a contract for|a comparison between|lessons from} {the data|the two plans|these results|my landlord}{.|}",
    "{Explain|What is} {image classification|a docker image|a diffusion model|computer vision|the picture exchange|the big picture of our strategy|a self-image|photosynthesis}{?|.|}",
    "{Paint|Illustrate} {the advantages of|your point about|the risks of} {remote work|inflation|this plan} {in words|with an example|with numbers}{.|}",
    "{Design|Create|Make|Generate|Produce} {a database schema|a REST API|a meal plan|a list of names|a summary|a JSON file|a Python script|a quiz|a table of results}{.|, please.|}",
    "{List|Name} {famous pictures|good cameras|image formats|drawing apps}{.|}",
    "{Write|Show} {code|a function|a program} {to|that} {draw a circle|draws a chart|plots a graph|generates a thumbnail|render a template} {in|with} {Python|JavaScript|OpenGL|matplotlib}{.|}",
]
